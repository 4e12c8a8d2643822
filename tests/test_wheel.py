"""The wheel is whole: its content, and what it does in an empty folder, with and without the extras' packages."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from alstm_helpers import __version__
from alstm_helpers.extras import EXTRAS

ROOT = Path(__file__).resolve().parents[1]
# What lies in alstm_helpers/_course, by its place in the clone.
COURSE = (
    *("notebooks/**/*.ipynb", "configs/*.yaml", "figures/**/*.svg", "figures/**/*.png"),
    *("docs/glossary.yml", "docs/measured.json", "docs/notes.yml", "docs/evidence/*.json"),
    *("data/README.md", "data/README.zh-CN.md", "README.md", "README.zh-CN.md", "requirements.lock"),
    *("tools/paddlevideo_step.py", "tools/pytorch_step.py", "tools/tf2pkl_logic.py"),
)
ABOUT = "METADATA WHEEL RECORD entry_points.txt licenses/LICENSE licenses/LICENSE-docs"
# SciPy is there in any case: scikit-learn needs it.
ABSENT = [*(name for packages in EXTRAS.values() for name in packages if name != "scipy"), "IPython", "jupyter_client"]
RUN = """
import json, sys

root, absent, commands = json.loads(sys.argv[1])
sys.path[:] = [place for place in sys.path if place != root]  # where an editable installation put it


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Absent())
import alstm_helpers
from alstm_helpers.cli import main

assert "site packages" in alstm_helpers.__file__
for command in commands:
    print("$", *command, flush=True)
    sys.argv, code = ["alstm", *command], 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code or 0
    print("=", code, flush=True)
"""


def build(source: Path, target: Path, *kinds: str) -> list[Path]:
    """Build archives as pip and uv do, but with the hatchling that is here."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(target)]
    for kind in kinds:
        command += ["-t", kind]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    return sorted(target.iterdir())


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The wheel and the sdist of this clone."""
    wheel, sdist = build(ROOT, tmp_path_factory.mktemp("dist"), "wheel", "sdist")
    return wheel, sdist


@pytest.fixture(scope="module")
def wheel(archives):
    return zipfile.ZipFile(archives[0])


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder that the wheel is unpacked to."""
    site = tmp_path_factory.mktemp("installed") / "site packages"
    wheel.extractall(site)
    return site


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """An empty working folder, far from the clone."""
    return tmp_path_factory.mktemp("empty 空")


def run(installed, folder, commands, absent=()):
    """Run commands of the unpacked wheel one after the other; return (exit status, lines) of each."""
    text = json.dumps([str(ROOT), list(absent), commands])
    done = subprocess.run(
        [sys.executable, "-c", RUN, text],
        cwd=folder,
        # Without the project's own variables, which an earlier test may have set for notebooks.
        env={name: value for name, value in os.environ.items() if not name.startswith("ALSTM_")}
        | {"PYTHONPATH": str(installed)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )
    found = re.findall(r"^\$ .*\n((?:.*\n)*?)= (\d+)$", done.stdout, re.MULTILINE)
    assert len(found) == len(commands), done.stdout
    return [(int(code), lines.splitlines()) for lines, code in found]


def test_the_content_of_the_wheel(wheel):
    kinds = (".py", ".typed", ".html", ".css", ".js", ".json", ".mo", ".otf", ".txt")
    package = [path for path in (ROOT / "alstm_helpers").rglob("*") if path.suffix in kinds]
    course = [path for pattern in COURSE for path in ROOT.glob(pattern)]
    expected = {path.relative_to(ROOT).as_posix() for path in package}
    expected |= {f"alstm_helpers/_course/{path.relative_to(ROOT).as_posix()}" for path in course}
    about = {f"attention_lstm_course-{__version__}.dist-info/{name}" for name in ABOUT.split()}
    assert len(course) > 25
    assert set(wheel.namelist()) == expected | about
    for path in course:
        assert wheel.read(f"alstm_helpers/_course/{path.relative_to(ROOT).as_posix()}") == path.read_bytes(), path


def test_no_path_of_a_machine(wheel):
    own = [re.escape(text) for text in (str(ROOT), sys.prefix, str(Path.home())) if len(text) > 5]
    pattern = re.compile("|".join([*own, r"/home/\w", r"/Users/\w", r"\\Users\\", "file://"]).encode())
    found = {name: pattern.search(wheel.read(name)) for name in wheel.namelist()}
    assert not {name: match[0] for name, match in found.items() if match}


def test_the_sdist_makes_the_same_wheel(archives, tmp_path):
    with tarfile.open(archives[1]) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    names = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    assert {"pyproject.toml", "Makefile", "tests/conftest.py", "docs/conf.py", ".ci/run", "run.sh"} <= names
    assert not [name for name in names if re.search(r"^(\.venv|build|data/(?!README))|__pycache__|\.ipynb_ch", name)]
    (again,) = build(source, tmp_path / "dist", "wheel")
    assert again.read_bytes() == archives[0].read_bytes()


def test_in_an_empty_folder(installed, empty):
    doctor, lab, progress, course = run(
        installed,
        empty,
        [["doctor"], ["lab", "my course", "--copy_only"], ["progress"], ["course", "--notebooks", "42"]],
    )
    assert doctor[0] == 0 and len(doctor[1]) > 20 and not [line for line in doctor[1] if line.startswith("FAIL")]
    assert any(re.match(r"(OK|WARN) +\[video\] +av ", line) for line in doctor[1])
    assert lab[0] == 0 and (empty / "my course" / "09_own_videos.ipynb").is_file()
    assert progress[0] == 0 and progress[1][-1].startswith(str(empty / "data" / "progress.json"))
    assert course[0] == 1 and "choose from 00, 01, 03, 04, 05, 06, 07, 08, 09, 10" in course[1][0]


def test_the_core_alone(installed, empty):
    """Every command of the chain works without the extras' packages; a training says that it draws no curves."""
    config = ["--config", "configs/flashdigits.yaml"]
    chain = [
        ["make-data", "data/flashdigits", "--train=40", "--val=10", "--shards=1"],
        *(["convert", f"data/flashdigits/tf/{side}", f"data/flashdigits/pkl/{side}"] for side in ("train", "val")),
        ["lists", "data/flashdigits"],
        ["train", *config, "--epoch=1"],
        ["eval", *config, "--resamples=0"],
        ["predict", *config],
        ["explain", *config, "--video=v003"],
        ["export", *config, "--weights=data/checkpoints/AttentionLSTM_best.pdparams", "--out=model"],
    ]
    done = run(installed, empty, chain, ABSENT)
    assert [code for code, _ in done] == [0] * len(chain), done
    train = done[4][1]
    shipped = installed / "alstm_helpers" / "_course" / "configs" / "flashdigits.yaml"
    assert train[0] == f"configs/flashdigits.yaml: none here; taking the course's own, {shipped}"
    assert [line for line in train if line.startswith("no curves")] == [
        'no curves are written: VisualDL is not installed; pip install "attention-lstm-course[course]" brings it'
    ]
    assert {path.name for path in empty.iterdir()} <= {"data", "model", "my course"}, "nothing elsewhere"
    assert not list(shipped.parent.parent.rglob("*.list"))


def test_what_needs_an_extra_says_which(installed, empty):
    (empty / "x.xml").write_text("<annotation/>", encoding="utf-8")
    cases = {
        ("nbformat", "course"): ["course"],
        ("jupyterlab", "course"): ["lab", "never"],
        ("onnx", "onnx"): ["export", "--config=x", "--weights=x", "--out=x", "--onnx"],
        ("uvicorn", "serve"): ["serve", "model"],
        ("av", "video"): ["features", "x.mp4", "--backbone=flashdigits", "--out=never"],
        ("defusedxml", "video"): ["labels", "import", "x.xml", "--out=never"],
        ("tokenizers", "clip"): ["labels", "suggest", "x.mp4", "--classes=cat,dog", "--out=never"],
        ("distributed", "dask"): ["convert", str(empty), "never", "--scheduler=tcp://127.0.0.1:1"],
    }
    (empty / "one.tfrecord").write_bytes(b"")
    done = run(installed, empty, list(cases.values()), ABSENT)
    for (package, extra), (code, lines) in zip(cases, done, strict=True):
        line = f'error: {package}: not installed; pip install "attention-lstm-course[{extra}]"'
        assert (code, lines) == (1, [line])
