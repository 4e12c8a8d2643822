"""Make .venv with the locked packages and this package in editable mode: what ``make setup`` runs.

    python tools/setup_env.py [--python PYTHON] [--gpu cu126] [--index URL] [--paddle-wheels URL]

It needs the standard library alone, and starts on any Python from 3.7 on, if only to say that another one is needed or
to let uv bring one. uv, in the version of requirements.lock, installs the packages; pip does where uv cannot.

``.venv/ready.json`` is written last and says what the environment was made from. As long as that is still true, there
is nothing to do; whatever else is found is made anew.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Mapping, NamedTuple, Sequence  # noqa: UP035  # those of collections.abc need Python 3.9

ROOT = Path(__file__).resolve().parents[1]
OLDEST, NEWEST, BROUGHT = (3, 11), (3, 13), "3.12"
NAMES = ("python3", "python3.13", "python3.12", "python3.11", "python")
FITTING = "Python 3.11, 3.12 or 3.13"
REMEDY = f"install {FITTING} (on Debian and Ubuntu: python3-venv, too), or uv, which brings one"
# Paddle's own page of GPU wheels; package indexes have only old ones.
PADDLE_WHEELS = "https://www.paddlepaddle.org.cn/packages/stable/{gpu}/paddlepaddle-gpu/"
# What a failed installation says in the words of pip and uv, and what to do about it; the first that fits counts.
CAUSES = {
    "disk": (
        r"no space left|errno 28\b|os error 28\b|disk quota",
        "the disk is full; free 3 GB for .venv and the caches (or move these: UV_CACHE_DIR, PIP_CACHE_DIR, TMPDIR)",
    ),
    "proxy": (
        r"proxy|tunnel|\b407\b",
        "the proxy refuses; correct HTTPS_PROXY or the proxy in pip's configuration, or unset it",
    ),
    "hash": (
        r"hash(es)? mismatch|do not match the hashes",
        "a package is not the one that is locked; try another index with INDEX=URL",
    ),
    "certificate": (
        r"certificate|unknownissuer",
        "the server's certificate is not trusted; SSL_CERT_FILE names a file with those to trust",
    ),
    "network": (
        r"name or service|name resolution|nodename|dns error|network is unreachable|connection refused|timed out|"
        r"failed to establish|connection reset|error sending request",
        "no network, or none to the index; connect, name a mirror with INDEX=URL, or unpack a bundle (`make bundle`)",
    ),
    "missing": (
        r"no matching distribution|no solution found|not found in the",
        "the index, or the folder wheels/, has no such package for this Python; try INDEX=URL, or the bundle's Python",
    ),
    "owner": (
        r"permission denied|os error 13\b",
        "a file or folder may not be written; correct its owner, or remove .venv by hand",
    ),
}
# What most commands import, in two halves of about the same time; the first notebook would have to compile it.
COMPILED = (
    "paddle",
    "matplotlib.pyplot, sklearn.decomposition, pydantic, click, requests, joblib, papermill, ipykernel",
)
INSTALL = ("install", "--quiet", "--no-input", "--disable-pip-version-check")  # of pip
PROBE = """
import sys
from importlib.util import find_spec
has = [int(bool(find_spec(name))) for name in ("venv", "pip", "ensurepip")]
print(sys.version_info[0], sys.version_info[1], *has, getattr(sys, "_base_executable", "") or sys.executable)
"""


class Failure(Exception):
    """One line for the user: what is wrong, and the way out."""


class Done(NamedTuple):
    """A finished command."""

    status: int
    output: str  # stdout and stderr; empty if they were shown


class Python(NamedTuple):
    """A Python on this machine, and whether it has the modules venv, pip and ensurepip."""

    path: str
    version: tuple[int, int]
    venv: bool = True
    pip: bool = True
    ensurepip: bool = True

    @property
    def name(self) -> str:
        """Its version, such as ``3.12``."""
        return f"{self.version[0]}.{self.version[1]}"

    @property
    def problem(self) -> str:
        """Why it does not fit; empty if it does."""
        if self.version > NEWEST:
            return f"Paddle has no wheel for Python {self.name}"
        if self.version < OLDEST:
            return f"Python {self.name} is too old"
        fits = self.venv and (self.pip or self.ensurepip)
        return "" if fits else f"Python {self.name} lacks its module venv, or both pip and ensurepip"


@dataclass(frozen=True)
class Options:
    """What to make, and from where.

    Args:
        root: the clone.
        python: a Python to use; empty for the first one that fits.
        gpu: the CUDA version of Paddle's GPU wheel, such as ``cu126``; empty for the CPU wheel.
        index: address of a package index; empty for the one that pip and uv are configured for.
        paddle_wheels: page with the GPU wheels; empty for Paddle's own.
    """

    root: Path = ROOT
    python: str = ""
    gpu: str = ""
    index: str = ""
    paddle_wheels: str = ""

    @property
    def venv(self) -> Path:
        """The environment."""
        return self.root / ".venv"

    @property
    def mark(self) -> Path:
        """The file that says that the environment is complete."""
        return self.venv / "ready.json"

    @property
    def source(self) -> list[str]:
        """Where packages come from, as pip and uv both take it; an unpacked bundle brings its own."""
        if (self.root / "wheels").is_dir():
            return ["--no-index", "--find-links", str(self.root / "wheels")]
        return ["--index-url", self.index] if self.index else []

    def program(self, name: str) -> str:
        """Return the path of a program in the environment."""
        return str(self.venv / "Scripts" / f"{name}.exe" if os.name == "nt" else self.venv / "bin" / name)

    def made_from(self, version: str) -> dict[str, str]:
        """Return what an environment with this version of Python would be made from now."""
        texts = [(self.root / name).read_bytes() for name in ("requirements.lock", "pyproject.toml")]
        content = hashlib.sha256(b"\0".join(texts)).hexdigest()
        return {"content": content, "python": version, "paddle": self.gpu or "cpu", "folder": str(self.root)}


def say(text: str) -> None:
    """Show a line at once."""
    print(f"setup: {text}", flush=True)


def run(command: Sequence[str], environment: Mapping[str, str] | None = None, *, show: bool = False) -> Done:
    """Run a command to its end; a program that is missing counts as failed."""
    pipe = None if show else subprocess.PIPE
    try:
        done = subprocess.run(
            command,
            stdout=pipe,
            stderr=None if show else subprocess.STDOUT,
            env=environment and dict(environment),
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except OSError as error:
        return Done(127, str(error))
    return Done(done.returncode, done.stdout or "")


def last_line(output: str) -> str:
    """Return the line of a program's output that says most: its last error, or its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "× ", "cause:"))]
    return (errors or lines or ["no message"])[-1][:200]


def cause_of(output: str) -> str:
    """Return the entry of CAUSES that a failed installation's output fits, or ``other``."""
    found = (name for name, (pattern, _) in CAUSES.items() if re.search(pattern, output, re.IGNORECASE))
    return next(found, "other")


def explain(output: str) -> str:
    """Return what made an installation fail, and the way out."""
    cause = cause_of(output)
    return CAUSES[cause][1] if cause in CAUSES else f"{last_line(output)}; run it again, or remove .venv first"


# --- which Python ---------------------------------------------------------------------------------------------------


def probe(name: str) -> Python | None:
    """Return a Python by its name or path, or None if it does not run; that of an environment is the one below it."""
    path = shutil.which(name)
    done = run([path, "-c", PROBE]) if path else Done(127, "")
    said = done.output.strip().splitlines()[-1:]  # what the loader and Python have to warn of comes before
    words = said[0].split(None, 5) if said else []
    if done.status or len(words) != 6 or not words[0].isdecimal():
        return None
    return Python(words[5], (int(words[0]), int(words[1])), *(word == "1" for word in words[2:5]))


def choose(options: Options) -> Python:
    """Return the Python that was asked for, or else the first one that fits, or else one that uv brings.

    Raises:
        Failure: there is none.
    """
    if options.python:
        asked = probe(options.python)
        if asked is None:
            raise Failure(f"PYTHON={options.python}: it does not run; name the path of {FITTING}")
        if asked.problem:
            raise Failure(f"PYTHON={options.python}: {asked.problem}; {REMEDY}")
        return asked
    unfit: dict[str, Python] = {}
    for name in (sys.executable, *NAMES):
        found = probe(name)
        if found and not found.problem:
            return found
        if found:
            unfit.setdefault(found.path, found)
    return brought_by_uv(options, list(unfit.values()))


def brought_by_uv(options: Options, unfit: Sequence[Python]) -> Python:
    """Let uv fetch a Python; UV_PYTHON_INSTALL_MIRROR is uv's own variable for where from.

    Raises:
        Failure: there is no uv, or it could not.
    """
    with tempfile.TemporaryDirectory() as folder:
        uv = shutil.which("uv") or uv_from_pip(options, unfit, Path(folder))
        problem = "there is no uv to bring one"
        if uv:
            say(f"no Python here fits; uv brings Python {BROUGHT}")
            done = run([uv, "python", "install", BROUGHT], {"UV_SYSTEM_CERTS": "1", **os.environ})
            problem = f"uv could not bring one ({last_line(done.output)})"
            if done.status == 0:
                said = run([uv, "python", "find", "--no-project", "--managed-python", BROUGHT]).output
                found = probe(said.strip().rpartition("\n")[2])
                if found and not found.problem:
                    return found
    reasons = ", ".join(f"{python.path}: {python.problem}" for python in unfit)
    raise Failure(f"python: none fits ({reasons}), and {problem}; {REMEDY}")


def uv_from_pip(options: Options, unfit: Sequence[Python], folder: Path) -> str | None:
    """Return a uv that a Python's pip installed into a folder, or None."""
    for python in unfit:
        command = [python.path, "-m", "pip", *INSTALL, "--target", str(folder), *options.source]
        done = run([*command, *locked(uv_requirement(options, folder))])
        if done.status == 0:
            return shutil.which("uv", path=str(folder / "bin"))
    return None


# --- packages -------------------------------------------------------------------------------------------------------


def locked(requirements: Path) -> list[str]:
    """Return the arguments with which pip and uv install exactly what a file with hashes names."""
    return ["--no-deps", "--require-hashes", "-r", str(requirements)]


def without(name: str, lock: str) -> str:
    """Return a lock without a package."""
    return re.sub(rf"^{name}==.*\n(?:    .*\n)*", "", lock, flags=re.MULTILINE)


def pinned(name: str, lock: str) -> tuple[str, str]:
    """Return the version of a package in a lock, and its lines there.

    Raises:
        Failure: the lock lacks it.
    """
    found = re.search(rf"^{name}==(\S+).*\n(?:    .*\n)*", lock, re.MULTILINE)
    if not found:
        raise Failure(f"requirements.lock: it lacks {name}; get the file again from the repository, or run `make lock`")
    return found[1], found[0]


def uv_requirement(options: Options, folder: Path) -> Path:
    """Write the lines of the lock that are about uv into a file."""
    path = folder / "uv.lock.txt"
    path.write_text(pinned("uv", read_lock(options))[1], encoding="utf-8")
    return path


def read_lock(options: Options) -> str:
    """Return the text of requirements.lock."""
    return (options.root / "requirements.lock").read_text(encoding="utf-8")


def uv_environment(pip_settings: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which uv takes packages from where pip does; uv's own variables come first.

    Args:
        pip_settings: output of ``pip config list``, which also shows PIP_… variables, such as
            ``global.index-url='https://…'``.
        environment: of this process.
    """
    found = {}
    for line in pip_settings.splitlines():
        match = re.match(r"(?:global|install|:env:)\.([\w-]+)=('.*'|\".*\")$", line.strip())
        if match:
            found[match[1].lstrip(".").replace("_", "-")] = str(ast.literal_eval(match[2]))
    wanted = {"UV_SYSTEM_CERTS": "1"}  # as pip has them, for networks with a certificate of their own
    if not {"UV_INDEX_URL", "UV_DEFAULT_INDEX"} & set(environment):
        wanted["UV_DEFAULT_INDEX"] = found.get("index-url", "")
    if not {"UV_INDEX", "UV_EXTRA_INDEX_URL"} & set(environment):
        wanted["UV_INDEX"] = " ".join(found.get("extra-index-url", "").split())
    if found.get("extra-index-url"):
        wanted["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # as pip chooses; the hashes tell what is right
    if found.get("no-index", "").lower() in {"1", "true", "yes", "on"}:
        wanted["UV_NO_INDEX"] = "1"
    wanted["UV_FIND_LINKS"] = ",".join(found.get("find-links", "").split())
    wanted["UV_INSECURE_HOST"] = " ".join(found.get("trusted-host", "").split())
    wanted["SSL_CERT_FILE"] = found.get("cert", "")
    wanted["HTTPS_PROXY"] = wanted["HTTP_PROXY"] = found.get("proxy", "")
    return {**{name: value for name, value in wanted.items() if value}, **environment}


class Installer:
    """Installs into the environment, by uv if it can be had, by pip otherwise.

    Args:
        options: what to make.
        python: the one that the environment was made by; its own pip is quicker than a new one in the environment.
    """

    def __init__(self, options: Options, python: Python) -> None:
        self._options = options
        self.compiles = True  # pip does, uv does not
        inside = options.program("python")
        self._pip = [python.path, "-m", "pip", "--python", inside] if python.pip else [inside, "-m", "pip"]
        self._uv: list[str] = []
        self._environment = dict(os.environ)

    def start(self) -> str:
        """Bring uv; return the name of what will install.

        Raises:
            Failure: not even pip gets anything.
        """
        options, uv = self._options, self._options.program("uv")
        done = run([*self._pip, *INSTALL, *options.source, *locked(uv_requirement(options, options.venv))])
        if done.status == 0 and run([uv, "--version"]).status == 0:
            self._uv = [uv, "pip", "install", "--python", options.program("python")]
            settings = run([*self._pip[:3], "config", "list"]).output
            self._environment = uv_environment(settings, os.environ)
            return f"uv {pinned('uv', read_lock(options))[0]}"
        if cause_of(done.output) in {"disk", "proxy", "network"}:  # pip would fail at every other package, too
            raise Failure(f".venv: {explain(done.output)}")
        say(f"uv cannot be had here ({last_line(done.output)})")
        return "pip"

    def install(self, *arguments: str) -> None:
        """Install requirements; if uv cannot, tell so and go on with pip.

        Raises:
            Failure: pip cannot, either.
        """
        if self._uv:
            seen = sys.stderr.isatty()  # then uv draws its own progress
            command = [*self._uv, *([] if seen else ["--quiet"]), *self._options.source, *arguments]
            done = run(command, self._environment, show=seen)
            if done.status == 0:
                self.compiles = False
                return
            if cause_of(done.output) == "disk" or shutil.disk_usage(str(self._options.venv)).free < 1 << 20:
                raise Failure(f".venv: {CAUSES['disk'][1]}")
            self._uv, self.compiles = [], True
            say(f"uv failed ({last_line(done.output)}); pip goes on, which takes a minute or two")
        done = run([*self._pip, *INSTALL, *self._options.source, *arguments])
        if done.status:
            raise Failure(f".venv: {explain(done.output)}")


# --- the environment ------------------------------------------------------------------------------------------------


def is_ready(options: Options) -> bool:
    """Return whether the environment is complete, made from what is here now, in this folder, and still runs."""
    try:
        made_from = json.loads(options.mark.read_text(encoding="utf-8"))
        version = str(made_from["python"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if made_from != options.made_from(version):
        return False
    asked = probe(options.python) if options.python else None
    here = probe(options.program("python"))
    return here is not None and here.name == version and (asked is None or asked.name == version)


def compile_most(python: str) -> None:
    """Let Python compile what most commands need, and keep it even where PYTHONDONTWRITEBYTECODE is set."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda names: run([python, "-W", "ignore", "-c", f"import {names}"], environment), COMPILED))


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other make sets up an environment in a folder; where the system cannot lock, do not."""
    with ExitStack() as stack:
        try:
            import fcntl

            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)  # which ends the lock
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("another make is setting up .venv; waiting for it")
                fcntl.flock(handle, fcntl.LOCK_EX)
        except (ImportError, OSError):  # Windows; some network drives
            pass
        yield


def make(options: Options, python: Python) -> None:
    """Make the environment anew, and mark it as ready at the very end.

    Raises:
        Failure: a step failed; the next run begins anew.
    """
    started = time.monotonic()
    if options.mark.exists():
        options.mark.unlink()
    bare = ["--without-pip"] if python.pip else []  # the lock brings a pip
    done = run([python.path, "-m", "venv", "--clear", *bare, str(options.venv)])
    if done.status:
        raise Failure(f".venv: {explain(done.output)}")
    installer = Installer(options, python)
    lock = read_lock(options)
    by = installer.start()
    number = len(re.findall(r"^[A-Za-z0-9].*==", lock, re.MULTILINE))
    amount = "from wheels/" if (options.root / "wheels").is_dir() else "0.5 GB to download the first time"
    say(f".venv for Python {python.name}: {by} installs up to {number} packages, {amount}")
    if options.gpu:
        version = pinned("paddlepaddle", lock)[0]
        path = options.venv / "without-paddle.lock"
        path.write_text(without("paddlepaddle", lock), encoding="utf-8")
        installer.install(*locked(path))
        page = options.paddle_wheels or PADDLE_WHEELS.format(gpu=options.gpu)
        installer.install(f"paddlepaddle-gpu=={version}", "--find-links", page)  # with CUDA's packages
    else:
        installer.install(*locked(options.root / "requirements.lock"))
    installer.install("--no-deps", "--no-build-isolation", "--editable", str(options.root))
    if not installer.compiles:
        compile_most(options.program("python"))
    part = options.mark.with_suffix(".part")
    part.write_text(json.dumps(options.made_from(python.name), indent=1) + "\n", encoding="utf-8")
    part.replace(options.mark)
    say(f"ready in {time.monotonic() - started:.0f} s")


def parse(arguments: Sequence[str]) -> Options:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description="Make .venv with the locked packages; nothing to do if it is ready.")
    parser.add_argument("--python", default="", help="a Python to use; default: the first one that fits")
    parser.add_argument("--gpu", default="", help="cu118, cu126 …: Paddle's GPU wheel of that CUDA")
    parser.add_argument("--index", default="", help="another package index")
    parser.add_argument("--paddle-wheels", default="", help="another page with Paddle's GPU wheels")
    return Options(**vars(parser.parse_args(arguments)))


def main(arguments: Sequence[str]) -> int:
    """Make the environment unless it is ready; return the exit status, and show a failure as one line."""
    try:
        options = parse(arguments)
        if not is_ready(options):
            with alone(options.root):
                if not is_ready(options):  # now
                    make(options, choose(options))
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: .venv: {explain(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: .venv: interrupted; run it again", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
