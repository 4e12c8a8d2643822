"""What a notebook's cell ``bootstrap`` calls where somebody else set Python up: on Colab, Kaggle or Baidu AI Studio.

The cell has installed this package alone. Its requirements follow here, without those that would break what such a
machine brings along: a Paddle for GPUs, because pip would install the CPU wheel into the same folder, and Jupyter.
This module must import without any of them.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from importlib import metadata

# Neither a requirement of this package nor on every machine, but ipykernel, in which the cell runs, depends on it.
from packaging.requirements import Requirement

from alstm_helpers.errors import AlstmError
from alstm_helpers.extras import DISTRIBUTION
from alstm_helpers.runtime import package_version, recommended_environment

EXTRA = "course"
GPU_PADDLE = "paddlepaddle-gpu"
JUPYTER = {"jupyterlab", "papermill", "nbconvert", "ipywidgets"}  # start and show notebooks; the machine has its own


def complete_installation() -> None:
    """Install what the notebooks need and this Python lacks; do nothing if it is all there.

    Raises:
        AlstmError: pip failed, or a module that the kernel has already loaded was replaced.
    """
    settings = recommended_environment().items()
    if "paddle" in sys.modules and any(os.environ.get(name) != value for name, value in settings):
        print("Paddle was imported before alstm_helpers, without its settings: restart the kernel and run from the top")
    wanted = requirements(EXTRA)
    if all(is_met(requirement) for requirement in wanted):
        return
    before = loaded_versions()
    print(f"installing {len(wanted)} packages and what they need; this takes a minute or more")
    command = [sys.executable, "-m", "pip", "install", "--quiet", *map(str, wanted)]
    if subprocess.run(command, check=False).returncode:
        remedy = "see pip's message above; on Kaggle, switch Internet on in the notebook's settings first"
        raise AlstmError("pip", "the packages of the course could not be installed", remedy)
    importlib.invalidate_caches()
    replaced = [f"{name} {version}" for name, version in before.items() if package_version(name) != version]
    if replaced:
        problem = f"the kernel has loaded {', '.join(replaced)}, and another version is installed now"
        raise AlstmError("kernel", problem, "restart the kernel and run the notebook again, from the top")


def requirements(extra: str) -> list[Requirement]:
    """Return what this package needs here with an extra, from its own metadata; see above for what is left out.

    Raises:
        AlstmError: the package is importable but not installed.
    """
    try:
        every = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or []]
    except metadata.PackageNotFoundError:
        remedy = "run `pip install .` in it, or move the notebook elsewhere"
        raise AlstmError("alstm_helpers", "this is a folder of the repository, not installed", remedy) from None
    unwanted = JUPYTER | ({"paddlepaddle"} if package_version(GPU_PADDLE) else set())
    wanted = [each for each in every if each.name not in unwanted]
    wanted = [each for each in wanted if each.marker is None or each.marker.evaluate({"extra": extra})]
    for each in wanted:
        each.marker = None  # pip is asked for these by themselves, where no extra is known
    return wanted


def is_met(requirement: Requirement) -> bool:
    """Return whether an installed version fits a requirement."""
    version = package_version(requirement.name)
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def loaded_versions() -> dict[str, str]:
    """Return the versions of the distributions that this process has imported a module of."""
    modules = {name.partition(".")[0] for name in sys.modules}
    owners = metadata.packages_distributions()
    names = {owner for module in modules for owner in owners.get(module, [])}
    return {name: metadata.version(name) for name in sorted(names)}
