"""Build the package's wheel for a class: without model answers, so that ``solution`` has nothing to show.

    python tools/class_wheel.py build/class     # a wheel, as version X.Y.Z+class

The judges stay, as the notebooks check answers with them; several compute the right answer. And the course is public:
this keeps the answers from those who do not look for them, not from those who do.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from alstm_helpers.course.assignments import without_answers

ROOT = Path(__file__).resolve().parents[1]
BUILD = (sys.executable, "-m", "hatchling", "build")


def main() -> int:
    """Unpack the sdist, take the answers out, and build the wheel from that."""
    (target,) = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*BUILD, "-t", "sdist", "-d", folder], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        copy = archive.with_name(archive.name.removesuffix(".tar.gz"))
        strip(copy)
        return subprocess.run(
            [*BUILD, "-t", "wheel", "-d", str(Path(target).resolve())], cwd=copy, check=False
        ).returncode


def strip(copy: Path) -> None:
    """Take the model answers out of a copy of the project, and name its version for it."""
    for chapter in (copy / "alstm_helpers" / "course" / "exercises").glob("chapter_*.py"):
        chapter.write_text(without_answers(chapter.read_text(encoding="utf-8")), encoding="utf-8")
    pyproject = copy / "pyproject.toml"
    named = re.sub(r'^(version = "[^"]+)"', r'\1+class"', pyproject.read_text(encoding="utf-8"), flags=re.MULTILINE)
    pyproject.write_text(named, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
