"""Curves and images of a training for VisualDL, and its server, for this machine only."""

from __future__ import annotations

import os
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from alstm_helpers.errors import AlstmError
from alstm_helpers.extras import require
from alstm_helpers.loopback import HOST, start_server
from alstm_helpers.workers import end_with


class Writer(Protocol):
    """The methods of VisualDL's untyped LogWriter that are used here."""

    def add_scalar(self, *, tag: str, step: int, value: float) -> None: ...

    def add_text(self, *, tag: str, step: int, text_string: str) -> None: ...

    def add_image(self, *, tag: str, step: int, img: np.ndarray) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def _get_file_writer(self) -> RecordWriter: ...


class RecordWriter(Protocol):
    """The writer below, which takes finished records (protobuf messages of VisualDL)."""

    def add_record(self, record: object) -> None: ...


class Curves:
    """Write for VisualDL: numbers of the training log, texts, attention as images, precision over recall.

    Args:
        folder: for the event file; None writes nothing. The event files in it are replaced.
        earlier: the ``visualdl`` folder of the run that is resumed, often the same folder.
        step: the step of its checkpoint. Points up to this step are carried over; later ones, of a run that was
            killed, will be drawn again.
        waits: leave the folder as it is until :meth:`begin` is called, and keep in memory what is added until then.
    """

    def __init__(self, folder: Path | None, *, earlier: Path | None = None, step: int = 0, waits: bool = False) -> None:
        self._folder, self._earlier, self._step = folder, earlier, step
        self._writer: Writer | None = None
        self._waiting: list[Callable[[Writer], None]] = []
        if not waits:
            self.begin()

    def begin(self) -> None:
        """Replace the event files in the folder, unless it has been done."""
        if self._folder is None or self._writer:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of packages below it, where Python compiles them only now
            from visualdl import LogWriter  # slow to import, needed only here

        folder = self._folder.absolute()  # the writer opens the file repeatedly, whatever the current folder is by then
        kept = _records_until(self._earlier, self._step) if self._earlier else []
        old = _event_files(folder)
        self._writer = LogWriter(logdir=str(folder), file_name=_name_after(old))
        for record in kept:
            self._add_record(record)
        for write in self._waiting:
            write(self._writer)
        self._waiting.clear()
        self.flush()
        for path in old:  # only now that their records are in the new file
            path.unlink()

    def add(self, kind: str, step: int, numbers: Mapping[str, float]) -> None:
        """Add a point to the curve ``<kind>/<name>`` of each number."""

        def write(writer: Writer) -> None:
            for name, value in numbers.items():
                writer.add_scalar(tag=f"{kind}/{name}", step=step, value=value)

        self._write(write)

    def add_text(self, tag: str, text: str, step: int) -> None:
        """Add a text; the page shows it as one paragraph, and with its line breaks when the mouse is on it."""
        self._write(lambda writer: writer.add_text(tag=tag, text_string=text, step=step))

    def add_attention(self, step: int, rgb: np.ndarray, audio: np.ndarray, lengths: np.ndarray) -> None:
        """Add the attention of a few videos, the same ones each time; see :func:`attention_image`."""
        if self._folder is not None:
            image = attention_image(rgb, audio, lengths)
            self._write(lambda writer: writer.add_image(tag="valid/attention", step=step, img=image))

    def add_scores(self, step: int, positives: np.ndarray, negatives: np.ndarray) -> None:
        """Add precision over recall, all (video, class) pairs pooled; a threshold is the lower edge of a bin.

        Args:
            step: of the training.
            positives, negatives: int (K,), the number of scores of true and of false labels in each of K equal bins of
                [0, 1].
        """
        if self._folder is None:
            return
        from visualdl.component.base_component import pr_curve_raw

        # LogWriter.add_pr_curve would count again, in its own bins, and fails with NumPy 2.
        counts = {key: value.tolist() for key, value in pr_curve(positives, negatives).items()}
        self._add_record(pr_curve_raw(tag="valid/scores", step=step, walltime=round(time.time() * 1000), **counts))

    def flush(self) -> None:
        """Write everything added so far to the file, where it survives this process."""
        if self._writer:
            self._writer.flush()

    def close(self) -> None:
        """Flush and close the file."""
        if self._writer:
            self._writer.close()

    def _add_record(self, record: object) -> None:
        """Add a finished record, for which LogWriter has no public method."""
        self._write(lambda writer: writer._get_file_writer().add_record(record))

    def _write(self, write: Callable[[Writer], None]) -> None:
        """Write now, or when the file is begun."""
        if self._writer:
            write(self._writer)
        elif self._folder is not None:
            self._waiting.append(write)


def _event_files(folder: Path) -> list[Path]:
    """List the event files of a folder, oldest first."""
    return sorted(folder.glob("vdlrecords.*.log"))


def _name_after(old: list[Path]) -> str:
    """Return a name that sorts after the old ones: VisualDL shows the last file of a folder.

    LogWriter's own names change only once per second.
    """
    numbers = [int(path.name.split(".")[1]) for path in old if path.name.split(".")[1].isdecimal()]
    return f"vdlrecords.{max([int(time.time()), *(number + 1 for number in numbers)]):010d}.log"


def _records_until(folder: Path, step: int) -> list[object]:
    """Return the records of a folder's event files up to a step, each (tag, step) once.

    A text at that very step is left out: the run that started there added it, and this run adds its own.
    """
    from google.protobuf.message import DecodeError
    from visualdl.proto.record_pb2 import Record

    found: dict[tuple[str, int], object] = {}
    for path in _event_files(folder):
        for content in _split_records(path.read_bytes()):
            try:
                record = Record.FromString(content)
            except DecodeError:  # damaged: its points are lost, the log and the checkpoint have the numbers
                continue
            for value in record.values:  # one; none where a power failure left zeros
                added_at_start = value.HasField("text") and value.id == step
                if value.id <= step and not added_at_start and not value.HasField("meta_data"):
                    found[value.tag, value.id] = record
    return list(found.values())


def _split_records(content: bytes) -> Iterator[bytes]:
    """Split an event file into its records, each a uint64 length (little-endian) and that many bytes.

    A torn record at the end, of a run that was killed, is dropped; so is what follows a damaged length.
    """
    start = 0
    while (first := start + 8) <= len(content):
        start = first + int.from_bytes(content[start:first], "little")
        if start <= len(content):
            yield content[first:start]


def pr_curve(positives: np.ndarray, negatives: np.ndarray) -> dict[str, np.ndarray]:
    """Compute counts, precision and recall at the thresholds 0, 1/K, … (K - 1)/K.

    Where no score reaches the threshold, precision keeps its last value: 0 / 0 as 0 or 1 would draw a spike.

    Args:
        positives, negatives: int (K,), the number of scores of true and of false labels in each of K equal bins of
            [0, 1].

    Returns:
        ``tp``, ``fp``, ``tn``, ``fn``: int (K,); ``precision``, ``recall``: float (K,).
    """
    tp, fp = (counts[::-1].cumsum()[::-1] for counts in (positives, negatives))  # (K,)
    last = max(np.count_nonzero(tp + fp) - 1, 0)  # the highest threshold that a score reaches
    precision = tp / np.maximum(tp + fp, 1)
    precision[last:] = precision[last]
    return {
        "tp": tp,
        "fp": fp,
        "tn": fp[0] - fp,
        "fn": tp[0] - tp,
        "precision": precision,
        "recall": tp / max(tp[0], 1),
    }


def attention_image(rgb: np.ndarray, audio: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Draw attention as an image: two bands per video, rgb above audio, one column per second.

    The largest weight of a band is bright yellow, 0 is dark violet; padding is grey, gaps between videos are white.

    Args:
        rgb, audio: float (N, T), the weights of each stream.
        lengths: int (N,), seconds.

    Returns:
        uint8 (30 N, W, 3), W about 480, or 2 T if that is more.
    """
    from matplotlib import colormaps  # slow to import, needed only here

    weights = np.stack([rgb, audio], axis=1)  # (N, 2, T)
    largest = np.maximum(weights.max(axis=2, keepdims=True), np.finfo(np.float32).tiny)  # (N, 2, 1)
    colours = colormaps["viridis"](weights / largest, bytes=True)[..., :3]  # (N, 2, T, 3)
    colours.swapaxes(1, 2)[np.arange(rgb.shape[1]) >= lengths[:, None]] = 200  # (N, T) selects of (N, T, 2, 3)
    bands = colours.repeat(12, axis=1).repeat(max(2, 480 // rgb.shape[1]), axis=2)  # (N, 24, W, 3)
    framed = np.pad(bands, ((0, 0), (0, 6), (0, 0), (0, 0)), constant_values=255)  # (N, 30, W, 3)
    return framed.reshape(-1, *bands.shape[2:])  # (30 N, W, 3)


def serve(logdir: str | os.PathLike[str], port: int = 8040, *, wait_seconds: float = 30) -> subprocess.Popen[bytes]:
    """Start VisualDL on the loopback interface and wait until it listens; it ends with this process at the latest.

    Its pages are ``/app/scalar``, ``/app/image``, ``/app/text`` and ``/app/pr-curve``; ``/`` opens one of them. New
    points appear automatically; after a resume, which replaces the file, restart the server.

    Args:
        logdir: the ``visualdl`` folder in the save_dir of a training.
        port: of ``http://127.0.0.1:<port>``.
        wait_seconds: how long the server may take to start.

    Raises:
        AlstmError: the folder is missing, the port is taken, VisualDL is not installed, or the server did not start.
    """
    require("visualdl")
    if not Path(logdir).is_dir():
        raise AlstmError(logdir, "no such folder", "train first; the curves are in the visualdl folder of the save_dir")
    code = f"from alstm_helpers.training.curves import _run_server; _run_server({os.getpid()})"
    # Without the last flag the server reports its start to its vendor, and the page loads a tracker.
    flags = ["--logdir", str(logdir), "--host", HOST, "--port", str(port), "--disable-telemetry"]
    return start_server(["-c", code, *flags], port, wait_seconds=wait_seconds, by_hand=["visualdl", *flags])


def _run_server(parent: int) -> None:
    """Run VisualDL's app with the flags of the command line, one thread per connection, until the parent ends.

    Its own server handles one connection after the other. Browsers open some in advance, for inline frames among
    others, and would wait for a page behind a connection that requests nothing.
    """
    end_with(parent)
    from visualdl.server.app import create_app
    from visualdl.server.args import ParseArgs, parse_args

    settings = ParseArgs(**parse_args())
    app, lock = create_app(settings), threading.Lock()
    answer = app.wsgi_app

    def one_at_a_time(*request: object) -> Iterable[bytes]:
        with lock:  # its readers of event files are not thread-safe
            response: Iterable[bytes] = answer(*request)
            return response

    app.wsgi_app = one_at_a_time
    app.run(host=settings.host, port=settings.port, threaded=True)
