"""Check that the files around the package agree: lock, conda environment, README, CONTRIBUTING, versions, lint."""

import itertools
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

from alstm_helpers import __version__
from alstm_helpers.machine.doctor import locked_versions

ROOT = Path(__file__).resolve().parents[1]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
# The source document's table of contents.
SOURCE_SECTIONS = [
    "1",
    "2",
    "2.1",
    "2.1.1",
    "2.1.2",
    "2.2",
    "2.2.1",
    "2.2.2",
    "2.2.3",
    "3",
    "3.1",
    "3.1.1",
    "3.1.2",
    "3.2",
    "3.3",
    "4",
    "4.1",
    "4.2",
    "4.3",
    "4.4",
    "4.5",
    "4.6",
    "5",
    "5.1",
    "5.2",
    "5.3",
    "5.4",
    "5.5",
    "6",
    "7",
    "7.1",
    "7.2",
    "7.3",
    "7.4",
    "7.5",
    "8",
    "8.1",
    "8.2",
    "8.3",
    "8.4",
]


def direct_dependencies(*left_out: str) -> set[str]:
    """Return the packages that pyproject.toml asks for in the core and in all extras but some."""
    project = tomllib.loads(PYPROJECT)["project"]
    extras = {name: asked for name, asked in project["optional-dependencies"].items() if name not in left_out}
    asked = [*project["dependencies"], *itertools.chain(*extras.values())]
    return {re.split(r"[\[<>=]", wish)[0] for wish in asked} - {project["name"]}


def test_every_locked_package_has_hashes_and_names_its_notebooks():
    blocks = re.split(r"\n(?=[A-Za-z0-9])", LOCK)[1:]
    assert len(blocks) > 100
    for block in blocks:
        assert re.match(r"[A-Za-z0-9_.-]+(\[[a-z0-9,-]+\])?==\S+", block), block.splitlines()[0]
        assert "--hash=sha256:" in block, block.splitlines()[0]
        assert re.search(r"# notebooks 0\d", block), block.splitlines()[0]


def test_lock_names_no_index():
    assert not re.search(r"https?://|index-url|find-links", LOCK)


def test_every_direct_dependency_is_locked():
    names = direct_dependencies()
    assert {"paddlepaddle", "click", "jupyterlab", "uv"} <= names
    assert names <= set(locked_versions(ROOT / "requirements.lock"))


def pinned_by_conda() -> dict[str, str]:
    """Return the versions in environment.yml by the names of pyproject.toml."""
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    return dict(re.findall(r"^ +- ([a-z0-9-]+?)(?:-gpu)?==(\d\S*)$", text, re.MULTILINE))


def test_conda_environment_has_the_locked_versions():
    pinned, locked = pinned_by_conda(), locked_versions(ROOT / "requirements.lock")
    assert pinned == {name: locked[name] for name in pinned}
    assert set(pinned) == direct_dependencies("dev")
    python = re.search(r"^  - python=3\.(\d+)$", (ROOT / "environment.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert python and f"Programming Language :: Python :: 3.{python[1]}" in PYPROJECT


def headings(path: Path) -> set[str]:
    """Return the anchors of a notebook's headings, as JupyterLab makes them."""
    found = set()
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "markdown":
            lines = "".join(cell["source"]).splitlines()
            found |= {line.lstrip("#").strip().replace(" ", "-") for line in lines if line.startswith("#")}
    return found


@pytest.mark.parametrize("section", SOURCE_SECTIONS)
def test_readme_maps_the_section_to_a_heading_that_exists(section):
    row = re.search(rf"^\| \({re.escape(section)}\) .*$", README, re.MULTILINE)
    assert row, f"README has no row for ({section})"
    links = re.findall(r"\]\(<(notebooks/[^#>]+)#([^>]+)>\)", row[0])
    assert links, row[0]
    for file, anchor in links:
        assert unquote(anchor) in headings(ROOT / file), f"{file} has no heading {anchor}"
        assert re.search(rf"\({re.escape(section)}[)-]", unquote(anchor)) or "." not in section, row[0]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/index.md", "docs/workshop.md"])
def test_links_to_files_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^<)#]+)\)", text) if not link.startswith("https://")]
    assert links or name == "CHANGELOG.md"
    for link in links:
        assert (ROOT / name).parent.joinpath(link).exists(), link


def test_the_version_is_the_same_everywhere():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert f'\nversion = "{__version__}"\n' in PYPROJECT
    assert cited["version"] == __version__
    latest = re.search(r"^## \[(\d[^]]*)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert latest and latest.groups() == (__version__, str(cited["date-released"]))


def tracked_files() -> list[Path]:
    """Return the files of the project as git knows them; skip the test outside a clone."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    found = [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]
    if done.returncode or not found:
        pytest.skip("not a clone")
    return found


def variables_in(path: Path) -> set[str]:
    """Return the project's own variables in a file, and in code every other one that it reads by a literal name."""
    text = path.read_text(encoding="utf-8")
    found = set(re.findall(r"\bALSTM_[A-Z0-9_]*[A-Z0-9]\b", text))
    if path.relative_to(ROOT).parts[0] in {"alstm_helpers", "tools"}:
        found |= set(re.findall(r"""environ(?:\.get|\.setdefault)?[(\[]\s*["'](\w+)""", text))
        found |= set(re.findall(r"""["'](\w+)["'] (?:not )?in os\.environ""", text))
    return found


def test_contributing_lists_every_variable():
    readers = [path for path in tracked_files() if path.suffix in {".py", ".ipynb", ".sh"} or path.name == "run"]
    used = set().union(*map(variables_in, [*readers, ROOT / "Makefile"]))
    assert {"ALSTM_CACHE", "OMP_NUM_THREADS", "JPY_SESSION_NAME"} <= used, "the expressions find too little"
    table = CONTRIBUTING.partition("## Environment variables")[2].partition("## Style")[0]
    names = "".join(re.findall(r"^\| (`[^|]+)\|", table, re.MULTILINE))
    listed = set(re.findall(r"`(\w+)`", names))
    assert used <= listed, f"CONTRIBUTING.md lacks {sorted(used - listed)}"
    assert {name for name in listed if name.startswith("ALSTM_")} <= used


def test_no_file_names_a_package_index():
    address = re.compile(r"https?://[\w.-]+/[\w/.-]*simple\b|\b(?:files|test)\.pypi|pypi\.org/(?!project/|p/)")
    for path in tracked_files():
        if path.suffix in {".py", ".md", ".yml", ".toml", ".lock", ".sh", ".ipynb", ""} and path != Path(__file__):
            assert not address.search(path.read_text(encoding="utf-8")), path


def test_contributing_names_files_that_exist():
    rows = CONTRIBUTING.partition("touch these files")[2].partition("## Environment")[0]
    named = set(re.findall(r"`((?:alstm_helpers|tests|docs|notebooks|commands)/[\w/.]+)`", rows))
    assert len(named) > 10
    for name in named - {"notebooks/NN_name.ipynb", "alstm_helpers/course/exercises/chapter_NN.py"}:
        folder = ROOT / "alstm_helpers" if name.startswith("commands/") else ROOT
        assert (folder / name).exists(), name


def test_contributing_names_every_make_target():
    targets = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert targets
    assert set(targets[1].split()) <= {*re.findall(r"make (?:GPU=\w+ )?([\w-]+)", CONTRIBUTING + README), "clean"}


def test_actions_are_pinned_by_digest_and_alike_in_every_workflow():
    digests: dict[str, set[str]] = {}
    for path in sorted((ROOT / ".github" / "workflows").glob("*.yml")):
        for action, rest in re.findall(r"uses: ([\w./-]+)(.*)", path.read_text(encoding="utf-8")):
            assert re.fullmatch(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+", rest), f"{path.name}: {action}{rest}"
            digests.setdefault(action, set()).add(rest)
    assert len(digests) > 4 and {len(found) for found in digests.values()} == {1}, digests


@pytest.mark.parametrize("command", ["ruff check .", "ruff format --check .", "mypy"])
def test_lint(command):
    done = subprocess.run(
        [sys.executable, "-m", *command.split()], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.posix
@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 2, "usage: bash run.sh"),
        (["dance", "AttentionLSTM", "x.yaml"], 2, "error: dance"),
        (["inference", "AttentionLSTM", "missing.yaml"], 1, "error: missing.yaml: no such file"),
        (["train", "AttentionLSTM", "missing.yaml", "--no_such_flag"], 2, "--no_such_flag"),
    ],
)
def test_run_sh(tmp_path, arguments, status, said):
    done = subprocess.run(
        ["bash", str(ROOT / "run.sh"), *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == status
    assert said in done.stderr
