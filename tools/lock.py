"""Write requirements.lock from pyproject.toml: exact versions with hashes, each with the notebooks that need it.

Run by ``make lock``; needs uv. One version a package for all supported Pythons and systems, and no address
of an index, so that every mirror serves it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADER = """\
# Made by `make lock` from pyproject.toml; do not edit. Every package carries the notebooks that need it.
# Installed by `make course`, `make test` and `make lab` with hashes checked. Linux and macOS, Python 3.10 to 3.12.
"""
COMPILE = (
    "uv pip compile pyproject.toml --quiet --extra dev --universal --python-version 3.10 --fork-strategy fewest "
    "--generate-hashes --no-header --no-emit-index-url --annotation-style line --upgrade"
)


def direct_notebooks(pyproject: str) -> dict[str, set[int]]:
    """Notebooks by direct dependency, from the comments in pyproject.toml."""
    found = {}
    for name, numbers in re.findall(
        r'^\s*"([A-Za-z0-9_.-]+)[^"]*",\s*# notebooks? ([\d, -]+):', pyproject, re.MULTILINE
    ):
        notebooks: set[int] = set()
        for part in numbers.split(","):
            first, _, last = part.strip().partition("-")
            notebooks |= set(range(int(first), int(last or first) + 1))
        found[name.lower().replace("_", "-")] = notebooks
    return found


def annotate(lock: str, direct: dict[str, set[int]]) -> str:
    """Replace uv's ``# via`` lines by the notebooks that need a package, directly or through others."""
    blocks = re.split(r"\n(?=[A-Za-z0-9])", lock.strip())
    parents = {}
    for block in blocks:
        name = re.match(r"[A-Za-z0-9_.-]+", block)[0]  # type: ignore[index]
        via = re.search(r"# via (.+)", block)
        parents[name] = [part.split()[0].partition("[")[0] for part in via[1].split(", ")] if via else []

    def needed_by(name: str, seen: frozenset[str] = frozenset()) -> set[int]:
        found = set(direct.get(name, ()))
        for parent in parents.get(name, []):
            if parent not in seen:
                found |= needed_by(parent, seen | {name})
        return found

    lines = [HEADER]
    for block, (name, via) in zip(blocks, parents.items(), strict=True):
        numbers = ", ".join(f"{number:02d}" for number in sorted(needed_by(name)))
        through = [parent for parent in via if parent != "alstm-helpers"]
        comment = f"    # notebooks {numbers}" + (f"; for {', '.join(through)}" if through else "")
        lines.append(re.sub(r"\n\s*# via .+", "", block) + "\n" + comment)
    return "\n".join(lines) + "\n"


def main() -> None:
    """Compile and annotate."""
    compiled = subprocess.run(
        [sys.executable, "-m", *COMPILE.split()], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if compiled.returncode:
        sys.exit(compiled.stderr)
    direct = direct_notebooks((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (ROOT / "requirements.lock").write_text(annotate(compiled.stdout, direct), encoding="utf-8")


if __name__ == "__main__":
    main()
