"""Test that what is not decoded changes no picture and no note."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from alstm_helpers.own_videos import media
from alstm_helpers.own_videos.gops import needed
from alstm_helpers.own_videos.media import Clip, read_frames

RATE, SECONDS = 10, 6


def write(path, codec, options, moments=None):
    """Write a video in which each picture has a grey of its own, shown from ``moments`` (in tenths of a second) on."""
    moments = range(RATE * SECONDS) if moments is None else moments
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, RATE)
        for moment in moments:
            picture = np.full((64, 64, 3), 20 + 2 * moment, np.uint8)
            picture[: moment % 60] //= 2
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = moment, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read(path, monkeypatch, start=0.0, stop=None, *, all_of_them=False):
    """Return the pictures of a clip, notes, and how many packets were decoded."""
    decoded = []

    def counted(packets, **about):
        for packet in packets if all_of_them else needed(packets, **about):
            decoded.append(packet.pts)
            yield packet

    monkeypatch.setattr(media, "needed", counted)
    frames = read_frames(Clip(path, start, stop), 16)
    return np.stack(list(frames)), frames.notes, len(decoded)


X264 = {"preset": "ultrafast", "g": "10", "keyint_min": "10", "sc_threshold": "0"}
X265 = {"preset": "ultrafast", "x265-params": "log-level=none:keyint=10:min-keyint=10:scenecut=0:bframes=0:open-gop=0"}
KINDS = {
    "h264.mp4": ("libx264", {**X264, "bf": "0"}, True),
    "h264_b.mkv": ("libx264", {**X264, "bf": "2"}, True),
    "h264_b.ts": ("libx264", {**X264, "bf": "2"}, True),
    "h264_long.mp4": ("libx264", {**X264, "g": "25", "bf": "0"}, True),
    "h264_short.mp4": ("libx264", {**X264, "g": "3", "bf": "0"}, True),
    "h264_open.mkv": ("libx264", {**X264, "bf": "2", "x264-params": "open-gop=1"}, False),
    "h264_one_group.mp4": ("libx264", {**X264, "g": "999"}, False),
    "hevc.mp4": ("libx265", X265, True),
    "hevc.ts": ("libx265", X265, True),
    "hevc_open.mkv": ("libx265", {**X265, "x265-params": "log-level=none:keyint=10:open-gop=1:bframes=2"}, False),
    "mpeg4.avi": ("mpeg4", {"g": "10", "bf": "2"}, False),  # its times of showing are unknown
    "mpeg4.mp4": ("mpeg4", {"g": "10"}, True),
    "vp9.webm": ("libvpx-vp9", {"g": "10", "deadline": "realtime", "cpu-used": "8"}, True),
    "mjpeg.mkv": ("mjpeg", {}, True),
}


@pytest.mark.parametrize("name", KINDS)
def test_the_pictures_are_the_same(tmp_path, monkeypatch, name):
    codec, options, fewer = KINDS[name]
    path = write(tmp_path / name, codec, options)
    for start, stop in ((0, None), (1.3, 4.3)):
        right, notes, whole = read(path, monkeypatch, start, stop, all_of_them=True)
        found, said, decoded = read(path, monkeypatch, start, stop)
        assert np.array_equal(found, right) and said == notes
        assert decoded <= whole and (decoded < whole) >= (fewer and stop is None)


@pytest.mark.parametrize("seed", range(6))
def test_at_any_times(tmp_path, monkeypatch, seed):
    """Pictures come when they come, some exactly in the middle of a second."""
    generator = np.random.default_rng(seed)
    moments = sorted({0, 5, 15, 35, *generator.choice(100, 30, replace=False).tolist()})
    path = write(tmp_path / "a.mkv", "libx264", {**X264, "g": str(generator.integers(2, 9)), "bf": "0"}, moments)
    right, notes, _ = read(path, monkeypatch, all_of_them=True)
    found, said, _ = read(path, monkeypatch)
    assert np.array_equal(found, right) and said == notes


def test_half_of_a_phones_video_is_not_decoded(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4", *KINDS["h264.mp4"][:2])
    assert read(path, monkeypatch)[2] == 5 * 6 + 10 + 1  # up to the middle of each second, the last one, the end


def test_no_more_is_read_than_is_needed(tmp_path, monkeypatch):
    """What comes after a part, such as a jump of the clock, is none of its business."""
    path = write(tmp_path / "a.mp4", *KINDS["h264.mp4"][:2])
    seen = []

    def counted(packets, **about):
        def watched():
            for packet in packets:
                seen.append(packet.pts * float(packet.time_base))
                yield packet

        yield from needed(watched(), **about)

    monkeypatch.setattr(media, "needed", counted)
    list(read_frames(Clip(path, 0, 2), 16))
    assert max(seen) < 3.5


def test_large_groups_are_not_held(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4", *KINDS["h264.mp4"][:2])
    right, _, whole = read(path, monkeypatch, all_of_them=True)
    monkeypatch.setattr("alstm_helpers.own_videos.gops._MOST_BYTES", 1)
    found, _, decoded = read(path, monkeypatch)
    assert np.array_equal(found, right) and decoded == whole
