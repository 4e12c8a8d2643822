"""Run commands in processes that a chosen file operation hits: a kill, a stop, or a folder that vanishes.

``python crashes.py`` imports everything once, and forks a process for each line of JSON that it reads. Its operations
below a folder are counted (opening for writing, renaming, removing, making folders); before the chosen one, it happens.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.link", "os.symlink"}


class Ended(NamedTuple):
    """The exit status (negative: the signal), the file operations counted, and what was printed on stderr."""

    status: int
    operations: int
    said: str


@dataclass(frozen=True)
class Crashes:
    """The process that forks; see :func:`crashes`.

    Args:
        process: reads requests.
        folder: whose operations count; ``folder/tmp`` is the system's temporary folder there.
    """

    process: subprocess.Popen[str]
    folder: Path

    def run(self, arguments: Sequence[object], *, at: int = 0, what: str = "kill", setup: str = "") -> Ended:
        """Run ``alstm`` with arguments.

        Args:
            arguments: of the command.
            at: the operation that is hit, from 1 up; 0 for none.
            what: ``kill``; the name of a signal; or a folder, which is removed.
            setup: Python that runs first, to replace what is slow.
        """
        request = {"arguments": [*map(str, arguments)], "at": at, "what": what, "setup": setup}
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps({**request, "folder": str(self.folder)}) + "\n")
        self.process.stdin.flush()
        return Ended(*json.loads(self.process.stdout.readline()))


def started(folder: Path) -> Crashes:
    """Start the process; end it with :meth:`subprocess.Popen.communicate`."""
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__]
    variables = {**os.environ, "TMPDIR": str(folder / "tmp"), "MPLBACKEND": "agg"}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables)
    return Crashes(process, folder)


def _counting(folder: str, at: int, hit: Callable[[], object]) -> Callable[[str, tuple[Any, ...]], None]:
    """Return a hook that counts operations below a folder, and calls ``hit`` before one of them."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event in EVENTS or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES)
        if writes and isinstance(arguments[0], str | os.PathLike) and os.fspath(arguments[0]).startswith(folder):
            hook.count += 1  # type: ignore[attr-defined]
            if hook.count == at:  # type: ignore[attr-defined]
                hit()

    hook.count = 0  # type: ignore[attr-defined]
    return hook


def _status_of(request: dict[str, Any], report: int, stderr: Path) -> int:
    """Run the command in a forked process; report the number of operations, and return the exit status."""
    from alstm_helpers import cli

    os.dup2(os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.environ["LOKY_MAX_CPU_COUNT"] = "1"  # the work is done in this process
    exec(request["setup"], {})  # noqa: S102 - of a test
    what = request["what"]
    number = signal.SIGKILL if what == "kill" else getattr(signal, what, None)
    hit = (lambda: os.kill(os.getpid(), number)) if number else (lambda: shutil.rmtree(what, ignore_errors=True))
    hook = _counting(request["folder"], request["at"], hit)
    sys.addaudithook(hook)
    sys.argv = ["alstm", *request["arguments"]]
    status: object = 0
    try:
        cli.main()
    except SystemExit as stop:
        status = stop.code or 0
    os.write(report, json.dumps(hook.count).encode())  # type: ignore[attr-defined]
    return int(str(status))


def _serve() -> None:
    import matplotlib.pyplot
    import sklearn.datasets  # noqa: F401

    from alstm_helpers.evaluation import explain, report  # noqa: F401
    from alstm_helpers.runtime import paddle  # noqa: F401

    matplotlib.pyplot.figure()
    stderr = Path(tempfile.mkdtemp(dir=Path(os.environ["TMPDIR"]).parents[1])) / "stderr"
    for line in sys.stdin:
        out, report_to = os.pipe()
        process = os.fork()
        if not process:
            sys.exit(_status_of(json.loads(line), report_to, stderr))
        os.close(report_to)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        count = os.read(out, 100)
        os.close(out)
        print(json.dumps([status, int(count or 0), stderr.read_text(encoding="utf-8")]), flush=True)


if __name__ == "__main__":
    _serve()
