"""``alstm lab``: copies of the notebooks in a folder of the learner's own, and JupyterLab there."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from alstm_helpers import language
from alstm_helpers.extras import require
from alstm_helpers.files import atomic_write, claimed, write_json
from alstm_helpers.loopback import HOST
from alstm_helpers.paths import COPIES_RECORD, course_files, work_folder

FOLDER = "attention-lstm-course"  # made in the current folder if none is named
COPIED = (
    "notebooks",
    "figures",
    "configs",
    "docs/glossary.yml",
    "data/README.md",
    "data/README.zh-CN.md",
    "README.md",
    "README.zh-CN.md",
)
# Keep JupyterLab from asking the network for its news, for updates and for extensions.
QUIET = (
    "--LabApp.news_url=",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.extension_manager=readonly",
)


class Copies(NamedTuple):
    """What :func:`copy_course` did, in names relative to the folder.

    Args:
        written: files that were not there, or were untouched copies of an earlier version.
        kept: files that differ from the course's, and were left as they are.
    """

    written: list[str]
    kept: list[str]


def lab_folder() -> Path:
    """Return where ``alstm lab`` works if it is not told: the notebooks of the clone, or copies of them."""
    work = work_folder()
    if work == course_files():
        return work / "notebooks"
    return work if (work / COPIES_RECORD).is_file() else work / FOLDER


def copy_course(folder: Path) -> Copies:
    """Copy the notebooks into a folder, with what they link to; leave alone whatever a learner has changed.

    A record in the folder holds a digest of each copy, by which a later run tells an untouched one.

    Raises:
        AlstmError: the folder is a file.
        FolderInUse: another run is copying there.
    """
    done, copies = Copies([], []), _course_copies()
    with claimed(*sorted({(folder / name).parent for name in copies})):
        record = _read_record(folder / COPIES_RECORD)
        for name, content in copies.items():
            path = folder / name
            digest = hashlib.sha256(content).hexdigest()
            there = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
            if there in (None, record.get(name)) and there != digest:
                with atomic_write(path) as file:
                    file.write(content)
                done.written.append(name)
            elif there != digest:
                done.kept.append(name)
                continue
            record[name] = digest
        write_json(folder / COPIES_RECORD, record)
    return done


def _read_record(path: Path) -> dict[str, str]:
    """Return the digests of the last copies; none if the file is missing or damaged: then every file may be changed."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _course_copies() -> dict[str, bytes]:
    """Return the content of each copy by its name. The notebooks lie at the top, so their links lose one level."""
    root, copies = course_files(), {}
    for place in COPIED:
        paths = sorted((root / place).rglob("*")) if (root / place).is_dir() else [root / place]
        for path in paths:
            name = path.relative_to(root).as_posix()
            if path.is_file() and "/." not in name:
                copies[name.removeprefix("notebooks/")] = path.read_bytes()
    for name in [name for name in copies if name.endswith(".ipynb")]:
        copies[name] = copies[name].replace(b"](../", b"](")
    for name in [name for name in copies if name.startswith("README")]:
        text = copies[name].decode()
        text = re.sub(r"\[([^]]*)\]\((<[^>]*>|[^)<]*)\)", lambda link: _relinked(link, copies), text)
        copies[name] = text.encode()
    return copies


def _relinked(link: re.Match[str], copies: Collection[str]) -> str:
    """Return a link of a README as it is right in the copy; one to a file that is not copied becomes plain text."""
    target = link[2].strip("<>")
    inside = target.removeprefix("notebooks/")
    if "://" in target or target.startswith("#"):
        return link[0]
    return link[0].replace(target, inside) if inside.partition("#")[0] in copies else link[1]


def open_lab(folder: Path, *, port: int | None = None, browser: bool = True) -> None:
    """Run JupyterLab in a folder, on the loopback interface, until it is stopped.

    Raises:
        NotInstalled: there is no JupyterLab.
    """
    require("jupyterlab")
    from jupyterlab.labapp import LabApp

    flags = lab_flags(folder.resolve(), port=port, browser=browser)
    if (folder / language.chosen()).is_dir():  # notebooks in another language lie in a folder of their own
        flags.append(f"--ServerApp.preferred_dir={folder.resolve() / language.chosen()}")
    os.chdir(folder)  # of the terminals and consoles in JupyterLab
    LabApp.launch_instance(flags)


def lab_flags(folder: Path, *, port: int | None = None, browser: bool = True) -> list[str]:
    """Return JupyterLab's flags: this folder, this machine only, no request to the network, menus as is chosen."""
    # The settings there keep JupyterLab from asking the learner whether it may look for news, make it save its widgets,
    # to display them again, and give it menus in the learner's language.
    settings = Path(__file__).parent / "jupyterlab" / language.chosen()
    flags = [f"--ip={HOST}", f"--ServerApp.root_dir={folder}", f"--LabApp.app_settings_dir={settings}", *QUIET]
    flags += [f"--port={port}"] if port else []
    flags += [] if browser else ["--no-browser"]
    # In a container the user is root, which Jupyter would refuse; only this machine can connect, with a token.
    return [*flags, "--allow-root"] if hasattr(os, "getuid") and os.getuid() == 0 else flags
