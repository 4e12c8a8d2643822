"""The video part of ``alstm bench``: what reading a clip costs, beside decoding every picture of it."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from alstm_helpers.extras import require
from alstm_helpers.machine.measure import Figures, alternate, here, ratio, took
from alstm_helpers.machine.on_request import Sample
from alstm_helpers.own_videos.media import Clip, read_frames

RATE, SIDE = 30, 224


def bench_video(seconds: int = 10, size: tuple[int, int] = (1920, 1080)) -> Figures:
    """Measure on a video as a phone writes it: H.264, 30 pictures a second, a key frame every second."""
    require("av")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clip.mp4")
        _write(path, seconds, size)
        read, decode = lambda: list(read_frames(Clip(path), SIDE)), partial(_decode, path)
        samples = alternate({"video": here(read), "video_decoded": here(decode)})
    # By processor time alone: libraries that decode differ in how many cores they take.
    ours, theirs = ([Sample(cpu, cpu) for _, cpu in side] for side in samples.values())
    what = f"a minute of {size[1]}p as a phone writes it"
    reading, decoding = f"reading {what}, a picture a second", f"decoding every picture of {what}"
    return {
        "video": took(ours, f"of processor time: {reading}", scale=60 / seconds),
        "video_decoded": took(theirs, f"of processor time: {decoding}", scale=60 / seconds),
        "video_ratio": ratio(ours, theirs, "times as fast as decoding every picture"),
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
