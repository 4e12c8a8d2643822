"""Set-up: which Python, by uv or by pip, what counts as ready, and one line for whatever stops it. No network."""

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytestmark = pytest.mark.posix  # the Makefile calls it; Windows goes without

ROOT = Path(__file__).resolve().parents[1]
TOOL = ROOT / "tools" / "setup_env.py"
spec = importlib.util.spec_from_file_location("setup_env", TOOL)
assert spec and spec.loader
setup_env = importlib.util.module_from_spec(spec)
sys.modules["setup_env"] = setup_env  # dataclasses look their module up
spec.loader.exec_module(setup_env)

Done, Failure, Options, Python = setup_env.Done, setup_env.Failure, setup_env.Options, setup_env.Python
P311, P312, P313 = (Python(f"/opt/3.{minor}/python", (3, minor)) for minor in (11, 12, 13))
LOCK = """\
numpy==2.4.1 \\
    --hash=sha256:aa
    # notebooks 01
paddlepaddle==3.3.1 \\
    --hash=sha256:bb \\
    --hash=sha256:bc
    # notebooks 01
uv==0.13.9 \\
    --hash=sha256:cc
    # notebooks 01
"""


class Machine:
    """A clone, the Pythons of a machine, and its programs, which record how they were called and fail if told to."""

    def __init__(self, root):
        self.root = root
        self.pythons = {"python3": P312}
        self.fails: dict[str, str] = {}  # part of a command → what it says when it fails
        self.says: dict[str, str] = {}  # part of a command → what it says otherwise
        self.commands: list[str] = []
        self.environments: list[dict[str, str]] = []
        (root / "requirements.lock").write_text(LOCK, encoding="utf-8")
        (root / "pyproject.toml").write_text("[project]\n", encoding="utf-8")

    def probe(self, name):
        inside = str(self.root / ".venv" / "bin" / "python")
        return self.pythons.get(".venv" if name == inside else name)

    def run(self, command, environment=None, *, show=False):
        text = " ".join(command).replace(str(self.root), "ROOT")
        self.commands.append(text)
        self.environments.append(dict(environment or {}))
        for part, output in self.fails.items():
            if part in text:
                return Done(1, output)
        if "-m venv" in text:
            shutil.rmtree(self.root / ".venv", ignore_errors=True)
            (self.root / ".venv").mkdir()
            self.pythons[".venv"] = next(p for p in self.pythons.values() if p.path == command[0])
        return Done(0, next((output for part, output in self.says.items() if part in text), ""))

    def setup(self, *arguments):
        self.commands.clear()
        return setup_env.main(arguments)

    @property
    def steps(self):
        """The commands that change something, except for compiling."""
        return [text for text in self.commands if not any(part in text for part in ("--version", "config", "import "))]

    @property
    def ready(self):
        return (self.root / ".venv" / "ready.json").is_file()


@pytest.fixture
def machine(tmp_path, monkeypatch):
    there = Machine(tmp_path)
    monkeypatch.setattr(setup_env, "run", there.run)
    monkeypatch.setattr(setup_env, "probe", there.probe)
    monkeypatch.setattr(setup_env, "parse", lambda arguments, parse=setup_env.parse: on(tmp_path, parse(arguments)))
    monkeypatch.setattr(setup_env.shutil, "which", lambda name, path=None: None)
    for name in [name for name in os.environ if name.startswith(("UV_", "PIP_"))]:
        monkeypatch.delenv(name)
    return there


def on(root, options):
    return Options(**{**vars(options), "root": root})


# --- what counts as ready -------------------------------------------------------------------------------------------


def test_the_steps_and_that_a_second_run_does_nothing(machine, capsys):
    assert machine.setup() == 0 and machine.ready
    assert machine.steps == [
        "/opt/3.12/python -m venv --clear --without-pip ROOT/.venv",
        "/opt/3.12/python -m pip --python ROOT/.venv/bin/python install --quiet --no-input --disable-pip-version-check"
        " --no-deps --require-hashes -r ROOT/.venv/uv.lock.txt",
        "ROOT/.venv/bin/uv pip install --python ROOT/.venv/bin/python --quiet"
        " --no-deps --require-hashes -r ROOT/requirements.lock",
        "ROOT/.venv/bin/uv pip install --python ROOT/.venv/bin/python --quiet"
        " --no-deps --no-build-isolation --editable ROOT",
    ]
    assert (machine.root / ".venv" / "uv.lock.txt").read_text() == LOCK[LOCK.index("uv==") :]
    assert "uv 0.13.9 installs up to 3 packages" in capsys.readouterr().out
    for name in ("requirements.lock", "pyproject.toml"):
        os.utime(machine.root / name)  # touched, not changed
    assert machine.setup() == 0 and not machine.commands and not capsys.readouterr().out


def edit(name):
    return lambda machine: (machine.root / name).write_text((machine.root / name).read_text() + "# more\n")


def mark(text):
    return lambda machine: (machine.root / ".venv" / "ready.json").write_text(text)


def move(machine):
    path = machine.root / ".venv" / "ready.json"
    path.write_text(path.read_text().replace(str(machine.root), "/elsewhere"))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(edit("requirements.lock"), id="the lock changed"),
        pytest.param(edit("pyproject.toml"), id="pyproject.toml changed"),
        pytest.param(move, id="the folder moved"),
        pytest.param(lambda machine: (machine.root / ".venv" / "ready.json").unlink(), id="half-made"),
        pytest.param(lambda machine: shutil.rmtree(machine.root / ".venv"), id="removed"),
        pytest.param(mark("{"), id="damaged"),
        pytest.param(mark("[]"), id="not a mark"),
        pytest.param(lambda machine: machine.pythons.pop(".venv"), id="its Python is gone"),
        pytest.param(lambda machine: machine.pythons.update({".venv": P311}), id="its Python is another one now"),
    ],
)
def test_what_is_no_longer_true_is_made_anew(machine, change):
    assert machine.setup() == 0
    change(machine)
    assert machine.setup() == 0 and any("-m venv" in command for command in machine.commands)
    assert machine.setup() == 0 and not machine.commands


def test_another_paddle_or_python_on_request_is_made_anew(machine):
    machine.pythons["python3.11"] = P311
    assert machine.setup() == 0
    assert machine.setup("--gpu", "cu126") == 0 and machine.commands
    assert machine.setup("--gpu", "cu126", "--python", "python3.11") == 0 and machine.commands
    assert machine.setup("--gpu", "cu126") == 0 and not machine.commands, "any Python is right unless one is named"
    assert machine.setup() == 0 and machine.commands


@pytest.mark.parametrize("step", ["-m venv", "uv.lock.txt", "requirements.lock", "--editable"])
def test_a_failed_step_leaves_nothing_that_counts_as_ready(machine, step, capsys):
    assert machine.setup() == 0
    edit("requirements.lock")(machine)
    machine.fails[step] = "ERROR: Could not install packages: [Errno 28] No space left on device"
    assert machine.setup() == 1 and not machine.ready
    shown = capsys.readouterr().err
    assert shown.startswith("error: .venv: the disk is full; free 3 GB") and shown.count("\n") == 1
    machine.fails.clear()
    assert machine.setup() == 0 and machine.ready


@pytest.mark.posix
def test_two_makes_at_once_make_one_environment(machine, capsys):
    """`make lab` beside `make test`: the second one finds it ready."""
    machine.setup()
    lock = machine.root / "requirements.lock"
    whole = lock.read_bytes()
    lock.write_bytes(whole + b"# changed\n")
    with ThreadPoolExecutor() as pool, setup_env.alone(machine.root):
        other = pool.submit(machine.setup)
        while "another make is setting up .venv" not in capsys.readouterr().out:
            assert not other.done()
            time.sleep(0.01)
        lock.write_bytes(whole)  # as if the first one had made it
    assert other.result() == 0 and machine.steps == []


def test_a_kill_before_the_mark_is_repaired(machine, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as killing:
        killing.setattr(setup_env.Path, "replace", killed)
        assert machine.setup() == 130 and not machine.ready
    assert machine.setup() == 0 and machine.ready


# --- what installs --------------------------------------------------------------------------------------------------


def test_pip_goes_on_where_uv_fails(machine, capsys):
    machine.fails["bin/uv pip"] = "error: this platform is odd"
    assert machine.setup() == 0 and machine.ready
    assert machine.commands[-2:] == [
        "/opt/3.12/python -m pip --python ROOT/.venv/bin/python install --quiet --no-input --disable-pip-version-check "
        + what
        for what in (
            "--no-deps --require-hashes -r ROOT/requirements.lock",
            "--no-deps --no-build-isolation --editable ROOT",
        )
    ]
    assert "setup: uv failed (error: this platform is odd); pip goes on" in capsys.readouterr().out


def test_what_uv_does_not_compile_is_compiled_and_kept(machine, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert machine.setup() == 0
    found = {
        text.partition("import ")[2]: there for text, there in zip(machine.commands, machine.environments, strict=True)
    }
    del found[""]
    assert any("paddle" in names for names in found) and len(found) == 2
    assert not any("PYTHONDONTWRITEBYTECODE" in there for there in found.values())
    machine.fails["bin/uv"] = "error"
    edit("requirements.lock")(machine)
    assert machine.setup() == 0 and not any("import " in text for text in machine.commands), "pip compiles"


def test_pip_installs_where_there_is_no_uv(machine, capsys):
    machine.fails["uv.lock.txt"] = "ERROR: No matching distribution found for uv==0.13.9"
    assert machine.setup() == 0 and machine.ready
    assert not any("bin/uv" in command for command in machine.commands)
    assert "uv cannot be had here (ERROR: No matching" in capsys.readouterr().out


def test_a_python_without_pip_gets_one_in_the_environment(machine):
    machine.pythons["python3"] = P312._replace(pip=False)
    assert machine.setup() == 0
    assert machine.commands[0] == "/opt/3.12/python -m venv --clear ROOT/.venv"
    assert machine.commands[1].startswith("ROOT/.venv/bin/python -m pip install")


@pytest.mark.parametrize(
    ("arguments", "page"),
    [
        ([], "https://www.paddlepaddle.org.cn/packages/stable/cu126/paddlepaddle-gpu/"),
        (["--paddle-wheels", "http://house/wheels/"], "http://house/wheels/"),
    ],
)
def test_the_gpu_wheel_replaces_the_other(machine, arguments, page):
    assert machine.setup("--gpu", "cu126", *arguments) == 0
    lock = (machine.root / ".venv" / "without-paddle.lock").read_text()
    assert lock == LOCK.replace(LOCK[LOCK.index("paddle") : LOCK.index("uv==")], "")
    assert machine.steps[-2].endswith(f"--quiet paddlepaddle-gpu==3.3.1 --find-links {page}")
    assert "without-paddle.lock" in machine.steps[-3]


def test_another_index_is_named_to_pip_and_uv(machine):
    machine.fails["--editable"] = "no"
    machine.setup("--index", "http://house/pypi")
    asked = [command for command in machine.commands if "install" in command]
    assert len(asked) == 4 and all("--index-url http://house/pypi " in command for command in asked)


def test_a_bundle_is_all_that_is_asked(machine):
    (machine.root / "wheels").mkdir()
    assert machine.setup("--index", "http://house/pypi") == 0
    asked = [command for command in machine.commands if "install" in command]
    assert len(asked) == 3 and all("--no-index --find-links ROOT/wheels " in command for command in asked)
    assert not any("http://house" in command for command in asked)


def test_uv_takes_packages_from_where_pip_does():
    settings = """\
:env:.index-url='http://house/pypi'
global.extra-index-url='http://a/x\\nhttp://b/x'
global.index-url='http://lower/'
global.trusted-host='house'
install.find-links='/one /two'
global.cert='/etc/ours.pem'
global.proxy='http://proxy:3128'
odd line
"""
    settings = "\n".join(sorted(settings.splitlines(), key=lambda line: line.startswith(":env:")))
    assert setup_env.uv_environment(settings, {"HOME": "/h"}) == {
        "HOME": "/h",
        "UV_SYSTEM_CERTS": "1",
        "UV_DEFAULT_INDEX": "http://house/pypi",
        "UV_INDEX": "http://a/x http://b/x",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/one,/two",
        "UV_INSECURE_HOST": "house",
        "SSL_CERT_FILE": "/etc/ours.pem",
        "HTTPS_PROXY": "http://proxy:3128",
        "HTTP_PROXY": "http://proxy:3128",
    }
    own = {"UV_INDEX_URL": "http://mine/", "UV_FIND_LINKS": "/mine", "UV_INDEX": ""}
    kept = setup_env.uv_environment(settings, own)
    assert "UV_DEFAULT_INDEX" not in kept and own.items() <= kept.items()


def test_uv_is_started_with_pips_settings(machine):
    machine.says["config list"] = "global.index-url='http://house/pypi'\n"
    assert machine.setup() == 0
    used = [found for text, found in zip(machine.commands, machine.environments, strict=True) if "uv pip" in text]
    assert [found["UV_DEFAULT_INDEX"] for found in used] == ["http://house/pypi"] * 2


# --- which Python ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pythons", "chosen"),
    [
        ({"python3": P313, "python3.12": P312}, P313),
        ({"python3": Python("/p", (3, 14)), "python3.12": P312, "python3.11": P311}, P312),
        ({"python3": Python("/p", (3, 10)), "python3.11": P311}, P311),
        ({"python3": P313._replace(pip=False, ensurepip=False), "python3.11": P311}, P311),
        ({"python3": P313._replace(ensurepip=False)}, P313._replace(ensurepip=False)),
        ({"python": P312}, P312),
    ],
)
def test_the_first_that_fits(machine, pythons, chosen):
    machine.pythons = pythons
    assert setup_env.choose(Options()) == chosen


@pytest.mark.parametrize(
    ("python", "problem"),
    [
        (None, "PYTHON=p: it does not run; name the path of Python 3.11, 3.12 or 3.13"),
        (Python("/p", (3, 14)), "PYTHON=p: Paddle has no wheel for Python 3.14; install Python 3.11, 3.12 or 3.13"),
        (Python("/p", (3, 10)), "PYTHON=p: Python 3.10 is too old; install"),
        (Python("/p", (3, 13), venv=False), "PYTHON=p: Python 3.13 lacks its module venv"),
        (Python("/p", (3, 13), pip=False, ensurepip=False), "both pip and ensurepip; install .*python3-venv"),
    ],
)
def test_a_python_that_was_asked_for_and_does_not_fit(machine, python, problem):
    machine.pythons = {"python3": P312} | ({"p": python} if python else {})
    with pytest.raises(Failure, match=problem):
        setup_env.choose(Options(python="p"))


def test_uv_brings_a_python_if_none_fits(machine, monkeypatch, capsys):
    machine.pythons = {"python3": Python("/p", (3, 14)), "/uv/3.12/python": P312}
    machine.says["python find"] = "/uv/3.12/python\n"
    monkeypatch.setattr(setup_env.shutil, "which", {"uv": "/bin/uv"}.get)
    assert setup_env.choose(Options()) == P312
    assert machine.commands == [
        "/bin/uv python install 3.12",
        "/bin/uv python find --no-project --managed-python 3.12",
    ]
    assert "uv brings Python 3.12" in capsys.readouterr().out


def test_pip_of_an_unfit_python_brings_the_locked_uv(machine, monkeypatch):
    machine.pythons = {"python3": Python("/p", (3, 10)), "/uv/3.12/python": P312}
    machine.says["python find"] = "/uv/3.12/python\n"
    monkeypatch.setattr(setup_env.shutil, "which", lambda name, path=None: path and "/tmp/bin/uv")
    assert setup_env.choose(on(machine.root, Options())) == P312
    assert machine.commands[0].startswith("/p -m pip install") and "--require-hashes" in machine.commands[0]
    assert machine.commands[1] == "/tmp/bin/uv python install 3.12"


@pytest.mark.parametrize(
    ("uv", "problem"),
    [
        (None, "there is no uv to bring one"),
        ("/bin/uv", r"uv could not bring one \(cause: dns error\)"),
    ],
)
def test_no_python_and_no_way_to_one_names_both_ways(machine, monkeypatch, uv, problem):
    machine.pythons = {"python3": Python("/p", (3, 14))}
    machine.fails = {"": "error: Request failed\n  cause: dns error\n"}
    monkeypatch.setattr(setup_env.shutil, "which", {"uv": uv}.get if uv else lambda name, path=None: None)
    expected = rf"none fits \(/p: Paddle has no wheel for Python 3.14\), and {problem}; install Python 3.11.*or uv"
    with pytest.raises(Failure, match=expected):
        setup_env.choose(on(machine.root, Options()))


def test_probe_is_not_misled_by_warnings(monkeypatch):
    """Such as those of a preloaded library that is missing; here of Python itself."""
    expected = setup_env.probe(sys.executable)
    monkeypatch.setenv("PYTHONWARNINGS", "nothing")
    assert expected and setup_env.probe(sys.executable) == expected


def test_probe_sees_this_python_below_its_environment():
    here = setup_env.probe(sys.executable)
    assert here.version == sys.version_info[:2] and here.venv
    assert Path(here.path).resolve() == Path(sys.executable).resolve()
    assert setup_env.probe("no-such-python") is None


# --- one line -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "the disk is full"),
        ("error: Failed to write\n  cause: No space left on device (os error 28)", "the disk is full"),
        (
            "WARNING: Retrying … NewConnectionError('Failed to establish a new connection: [Errno -3] Temporary "
            "failure in name resolution')\nERROR: No matching distribution found for uv==0.13.9",
            "no network",
        ),
        ("  cause: error sending request for url (http://x)\n  cause: dns error", "no network"),
        ("ProxyError('Cannot connect to proxy.', OSError('Tunnel connection failed: 403'))", "the proxy refuses"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "not the one that is locked"),
        ("error: Hash mismatch for `numpy==2.4.1`", "not the one that is locked"),
        ("  cause: invalid peer certificate: UnknownIssuer", "certificate is not trusted"),
        ("ERROR: No matching distribution found for paddlepaddle==3.3.1", "no such package for this Python"),
        ("PermissionError: [Errno 13] Permission denied: '/c/.venv'", "may not be written"),
        ("Traceback\nerror: something\nodd", "error: something; run it again"),
        ("", "no message; run it again"),
    ],
)
def test_the_cause_and_the_way_out(said, shown):
    explained = setup_env.explain(said)
    assert shown in explained and "; " in explained and "\n" not in explained


def test_a_file_that_cannot_be_written_is_one_line(machine, monkeypatch, capsys):
    monkeypatch.setattr(setup_env.Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    assert machine.setup() == 1
    assert capsys.readouterr().err.startswith("error: .venv: the disk is full")


def test_a_lock_without_uv_is_refused(machine, capsys):
    (machine.root / "requirements.lock").write_text("numpy==1 \\\n    --hash=sha256:aa\n")
    assert machine.setup() == 1
    assert capsys.readouterr().err.startswith("error: requirements.lock: it lacks uv")


# --- the files ------------------------------------------------------------------------------------------------------


def test_the_lock_pins_uv_with_hashes():
    version, lines = setup_env.pinned("uv", (ROOT / "requirements.lock").read_text(encoding="utf-8"))
    assert re.fullmatch(r"\d+\.\d+\.\d+", version) and "--hash=sha256:" in lines and "\n    # notebooks" in lines


def test_the_tool_starts_on_old_pythons():
    ast.parse(TOOL.read_text(encoding="utf-8"), feature_version=(3, 7))
    imported = re.findall(r"^(?:import|from) (\w+)", TOOL.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(imported) <= sys.stdlib_module_names


def make(folder, *arguments):
    """Run make with the programs of a folder, and nothing else, on the path."""
    program = shutil.which("make")
    if program is None:
        pytest.skip("no make")
    command = [program, "--no-print-directory", "-f", str(ROOT / "Makefile"), *arguments, "setup"]
    return subprocess.run(command, cwd=folder, env={"PATH": str(folder)}, capture_output=True, text=True, check=False)


def test_make_names_both_ways_if_nothing_can_start(tmp_path):
    done = make(tmp_path)
    assert done.returncode and done.stderr.startswith("error: python: none was found")
    assert "Python 3.11, 3.12 or 3.13" in done.stderr.splitlines()[0] and "uv" in done.stderr


def test_make_hands_its_variables_over(tmp_path):
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\ncase "$1" in -c) echo "{python}" ;; *) printf "%s\\n" "$@" ;; esac\n')
    python.chmod(0o755)
    done = make(tmp_path, "GPU=cu126", "INDEX=http://house/pypi", "PADDLE_WHEELS=http://house/gpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:9] == [
        "tools/setup_env.py",
        "--python",
        "",
        "--gpu",
        "cu126",
        "--index",
        "http://house/pypi",
        "--paddle-wheels",
        "http://house/gpu",
    ]


def test_the_mark_is_readable(machine):
    assert machine.setup("--gpu", "cu126") == 0
    found = json.loads((machine.root / ".venv" / "ready.json").read_text())
    assert {key: found[key] for key in ("python", "paddle", "folder")} == {
        "python": "3.12",
        "paddle": "cu126",
        "folder": str(machine.root),
    }
