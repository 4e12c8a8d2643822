"""The video part of ``alstm bench``: what reading a clip costs, beside decoding every picture of it."""

from __future__ import annotations

import tempfile
import time
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from alstm_helpers.extras import require
from alstm_helpers.machine.measure import Figure, Figures, best_seconds
from alstm_helpers.own_videos.media import Clip, read_frames

RATE, SIDE = 30, 224
# Processor time of all threads together, which other work on the machine hardly changes.
_best = partial(best_seconds, repeats=2, clock=time.process_time)


def bench_video(seconds: int = 10, size: tuple[int, int] = (1920, 1080)) -> Figures:
    """Measure on a video as a phone writes it: H.264, 30 pictures a second, a key frame every second."""
    require("av")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clip.mp4")
        _write(path, seconds, size)
        here = _best(lambda: list(read_frames(Clip(path), SIDE))) * 60 / seconds
        all_of_them = _best(lambda: _decode(path)) * 60 / seconds
    what = f"a minute of {size[1]}p as a phone writes it"
    return {
        "video": Figure(here, "s", f"of processor time: reading {what}, a picture a second"),
        "video_decoded": Figure(all_of_them, "s", f"of processor time: decoding every picture of {what}"),
        "video_ratio": Figure(all_of_them / here, "×", "times as fast as decoding every picture"),
    }


def _write(path: Path, seconds: int, size: tuple[int, int]) -> None:
    """Write a video of moving waves with a little noise."""
    import av

    width, height = size
    rows, columns = np.mgrid[:height, :width].astype(np.float32) / height
    noise = np.random.default_rng(0).integers(0, 12, (height, width)).astype(np.float32)
    with av.open(str(path), "w") as container:
        options = {"preset": "ultrafast", "g": str(RATE), "keyint_min": str(RATE), "bf": "0"}
        stream = container.add_stream("libx264", rate=RATE, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(seconds * RATE):
            wave = 110 + 90 * np.sin(12 * rows + 9 * columns + number / 7) + np.roll(noise, 3 * number, axis=1)
            planes = np.vstack([wave, np.full((height // 2, width), 128)]).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _decode(path: Path) -> None:
    """Decode every picture, as simple readers do."""
    import av

    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for _ in container.decode(video=0):
            pass
