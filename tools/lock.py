"""Write requirements.lock from pyproject.toml: exact versions with hashes, each with the notebooks that need it.

    python tools/lock.py            # the newest versions that pyproject.toml allows
    python tools/lock.py --keep     # the versions already locked, as far as pyproject.toml still allows them

Run by ``make lock`` and ``make lock KEEP=1``; needs uv. The lock has one version per package for all supported Pythons
and systems, and no address of an index, so that every mirror serves it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
HEADER = """\
# Made by `make lock` from pyproject.toml; do not edit. Every package carries the notebooks that need it.
# Installed by `make`, with hashes checked. Linux, macOS and Windows, Python 3.11 to 3.13.
"""
# Extras stay: before 23.3, pip does not see that `coverage==…` pins `coverage[toml]`, and refuses the hashes.
COMPILE = (
    "uv pip compile pyproject.toml --quiet --extra dev --universal --python-version 3.11 --fork-strategy fewest "
    "--generate-hashes --no-header --no-emit-index-url --annotation-style line --no-strip-extras --output-file"
)


def direct_notebooks(pyproject: str) -> dict[str, set[int]]:
    """Return the notebooks that need each direct dependency, from the comments in pyproject.toml."""
    found: dict[str, set[int]] = {}
    for name, numbers in re.findall(
        r'^\s*"([A-Za-z0-9_.-]+)[^"]*",\s*# notebooks? ([\d, -]+):', pyproject, re.MULTILINE
    ):
        notebooks: set[int] = set()
        for part in numbers.split(","):
            first, _, last = part.strip().partition("-")
            notebooks |= set(range(int(first), int(last or first) + 1))
        found[name.lower().replace("_", "-")] = notebooks
    return found


def name_of(block: str) -> str:
    """Return the package that a block of the lock pins, without its extras.

    Raises:
        ValueError: the block does not begin with ``name==`` or ``name[extra]==``.
    """
    pinned = re.match(r"([A-Za-z0-9_.-]+)(?:\[[^]]+\])?==", block)
    if not pinned:
        raise ValueError(f"not a pinned package: {block.splitlines()[0]}")
    return pinned[1]


def annotate(lock: str, direct: dict[str, set[int]]) -> str:
    """Replace uv's ``# via`` lines by the notebooks that need a package, directly or through others."""
    blocks = re.split(r"\n(?=[A-Za-z0-9])", lock.strip())
    parents: dict[str, list[str]] = {}
    for block in blocks:
        asked = re.search(r"# via (.+)", block)
        parents[name_of(block)] = [part.split()[0].partition("[")[0] for part in asked[1].split(", ")] if asked else []

    def needed_by(name: str, seen: frozenset[str] = frozenset()) -> set[int]:
        found = set(direct.get(name, ()))
        for parent in parents.get(name, []):
            if parent not in seen:
                found |= needed_by(parent, seen | {name})
        return found

    lines = [HEADER]
    for block, (name, via) in zip(blocks, parents.items(), strict=True):
        numbers = ", ".join(f"{number:02d}" for number in sorted(needed_by(name)))
        through = [parent for parent in via if parent != "attention-lstm-course"]
        comment = f"    # notebooks {numbers}" + (f"; for {', '.join(through)}" if through else "")
        lines.append(re.sub(r"\n\s*# via .+", "", block) + "\n" + comment)
    return "\n".join(lines) + "\n"


def compile_lock(*, keep: bool) -> str:
    """Resolve every dependency with uv and return its output; exit with uv's message if that fails.

    Args:
        keep: prefer the versions that are already locked.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, LOCK.name)
        if keep:  # uv prefers what its output file already pins
            output.write_bytes(LOCK.read_bytes())
        command = [sys.executable, "-m", *COMPILE.split(), str(output)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        return output.read_text(encoding="utf-8")


def main() -> None:
    """Compile, annotate, write."""
    compiled = compile_lock(keep="--keep" in sys.argv[1:])
    direct = direct_notebooks((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    LOCK.write_text(annotate(compiled, direct), encoding="utf-8")


if __name__ == "__main__":
    main()
