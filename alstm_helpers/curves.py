"""Training curves in VisualDL: written during training, shown by a server on this machine only."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from alstm_helpers.errors import AlstmError

HOST = "127.0.0.1"


class Curves:
    """Writes the rows of the training log for VisualDL, one tag a number.

    Args:
        folder: for the event files; None writes nothing.
        rows: what a training that is resumed had logged. The curves that are there are replaced, as they may
            reach beyond its checkpoint.
    """

    def __init__(self, folder: Path | None, rows: Iterable[dict[str, Any]] = ()) -> None:
        self._writer = None
        if folder is not None:
            from visualdl import LogWriter  # slow to import, needed only here

            for old in folder.glob("vdlrecords.*.log"):
                old.unlink()
            self._writer = LogWriter(logdir=str(folder))
            for row in rows:
                self.add(row)

    def add(self, row: dict[str, Any]) -> None:
        """Add a row: every number in it, at its ``step``, under ``<kind>/<name>``."""
        for key, value in row.items():
            if self._writer and key not in ("kind", "epoch", "step", "num_videos"):
                self._writer.add_scalar(tag=f"{row['kind']}/{key}", step=row["step"], value=value)

    def close(self) -> None:
        """Write what is buffered."""
        if self._writer:
            self._writer.close()


def serve(logdir: str | os.PathLike[str], port: int = 8040, *, wait_seconds: float = 30) -> subprocess.Popen[bytes]:
    """Start VisualDL on the loopback and wait until it listens; the caller terminates the process.

    Args:
        logdir: the ``visualdl`` folder of a training's save_dir.
        port: of ``http://127.0.0.1:<port>``.
        wait_seconds: how long the server may take.

    Raises:
        AlstmError: the folder is missing, the port is taken, or the server did not start.
    """
    if not Path(logdir).is_dir():
        raise AlstmError(logdir, "no such folder", "train first; the curves lie in the save_dir's visualdl folder")
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise AlstmError(f"port {port}", "another program listens there", f"pass another port, such as {port + 1}")
    code = "from visualdl.server.app import main; main()"
    # Without the last flag the server reports its start to its makers.
    arguments = ["--logdir", str(logdir), "--host", HOST, "--port", str(port), "--disable-telemetry"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + wait_seconds
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return process
        time.sleep(0.1)
    process.terminate()
    raise AlstmError(f"port {port}", "VisualDL did not start", "try `visualdl --logdir` by hand to see why")
