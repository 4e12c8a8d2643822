"""Try the newest versions of everything: resolve, install, test, run the course, and say what changed and what broke.

    python -m tools.newest [TEST…]

Run by ``make newest`` and by CI every week. The environment is ``build/newest/venv``; requirements are those of
pyproject.toml without their upper bounds. The report goes to ``build/newest/summary.md`` and, in CI, to the summary of
the job. With names of tests, these are run instead of all tests and the course. The exit status is 1 if anything broke.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from alstm_helpers.machine.doctor import pinned_versions
from tools import setup_env

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "newest"
PYTHON = FOLDER / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"


def without_upper_bounds(wish: str) -> str:
    """Return a requirement such as ``numpy>=2,<3`` as ``numpy>=2``."""
    return re.sub(r",<=?[^,;]+", "", wish)


def wishes(pyproject: str) -> list[str]:
    """Return what pyproject.toml asks for, in the core and in every extra, without upper bounds."""
    project = tomllib.loads(pyproject)["project"]
    asked = [*project["dependencies"], *(wish for extra in project["optional-dependencies"].values() for wish in extra)]
    return [without_upper_bounds(wish) for wish in asked if not wish.startswith(project["name"])]


def changes(locked: str, newest: str) -> list[str]:
    """Return a row of Markdown for each package whose newest version is not the locked one."""
    before, after = pinned_versions(locked), pinned_versions(newest)
    differing = sorted(name for name in after if after[name] != before.get(name))
    return [f"| {name} | {before.get(name, '–')} | {after[name]} |" for name in differing]


def broken(output: str) -> list[str]:
    """Return the lines of an output that say what failed: tests, notebooks, errors of pip and uv."""
    pattern = re.compile(r"^(FAILED|ERROR|error:|  cause:|\d\d_\w+ +failed\b)")
    lines = output.splitlines()
    return [line for line in lines if pattern.match(line)] or lines[-10:]


def run(name: str, command: Sequence[str]) -> list[str]:
    """Run a step, show its output as it comes, and return lines of Markdown: one if it went well, more if it broke."""
    environment = setup_env.uv_environment(
        setup_env.run([sys.executable, "-m", "pip", "config", "list"]).output, os.environ
    )
    lines = []
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    ) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode == 0:
        return [f"* {name}: passed"]
    return [f"* **{name}: broke**", "", "```", *broken("".join(lines)), "```", ""]


def steps(tests: Sequence[str]) -> Iterable[tuple[str, list[str]]]:
    """Yield the name and the command of each step, in order."""
    uv, python, requirements = str(Path(sys.executable).with_name("uv")), str(PYTHON), str(FOLDER / "requirements.txt")
    asked = str(FOLDER / "requirements.in")
    yield (
        "resolve",
        [uv, "pip", "compile", "--quiet", "--upgrade", "--python", sys.executable, asked, "-o", requirements],
    )
    yield "make .venv", [uv, "venv", "--quiet", "--python", sys.executable, str(FOLDER / "venv")]
    yield "install", [uv, "pip", "install", "--quiet", "--python", python, "-r", requirements]
    package = ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    yield "install this package", [uv, "pip", "install", "--quiet", "--python", python, *package]
    yield "tests", [python, "-m", "pytest", "-q", *tests]
    if not tests:
        yield "course", [python, "-m", "alstm_helpers", "course", "--out", str(FOLDER / "course")]


def main(tests: Sequence[str]) -> int:
    """Run the steps, write the report, and return the exit status."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    asked = wishes((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (FOLDER / "requirements.in").write_text("\n".join(asked) + "\n", encoding="utf-8")
    report, failed = [f"# The newest of everything, Python {sys.version_info[0]}.{sys.version_info[1]}", ""], False
    for name, command in steps(tests):
        found = run(name, command)
        report += found
        failed |= len(found) > 1
        if len(found) > 1 and name not in {"tests", "course"}:
            break  # nothing was installed that could be tried
    newest = FOLDER / "requirements.txt"
    if newest.is_file():
        locked = (ROOT / "requirements.lock").read_text(encoding="utf-8")
        rows = changes(locked, newest.read_text(encoding="utf-8"))
        report += ["", f"{len(rows)} packages are newer than in requirements.lock.", ""]
        report += ["| package | locked | newest |", "|---|---|---|", *rows] if rows else []
    text = "\n".join(report) + "\n"
    for path in (FOLDER / "summary.md", os.environ.get("GITHUB_STEP_SUMMARY")):
        if path:
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(text)
    print(text)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
