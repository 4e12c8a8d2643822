"""Test that a decoded picture becomes what a viewer sees."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.media import Clip, read_frames
from alstm_helpers.own_videos.pictures import Fit


@pytest.mark.parametrize("transfer", [16, 18])
@pytest.mark.parametrize(
    "share, expected",
    [
        ({16: 0.0, 18: 0.0}, 0),  # black
        ({16: 0.38, 18: 0.38}, 108),  # a grey card that reflects 18 %: 26 cd/m²
        ({16: 0.58, 18: 0.75}, 255),  # white paper: 203 cd/m²
        ({16: 0.75, 18: 1.0}, 255),  # the brightest light of a 1000 cd/m² screen
    ],
)
def test_high_dynamic_range(tmp_path, transfer, share, expected):
    """White paper is white (the values are those of ITU-R BT.2408, table 1), whether in PQ (16) or in HLG (18)."""
    path = tmp_path / "hdr.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=2, options={"x265-params": "log-level=none"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p10le"
        stream.codec_context.color_trc, stream.codec_context.color_primaries = transfer, 9
        stream.codec_context.colorspace = 9
        for number in range(4):
            frame = av.VideoFrame(64, 64, "yuv420p10le")
            frame.pts, frame.time_base = number, Fraction(1, 2)
            for plane, value in zip(frame.planes, (round(64 + 876 * share[transfer]), 512, 512), strict=True):
                plane.update(np.full(plane.buffer_size // 2, value, np.uint16).tobytes())
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    frames = read_frames(Clip(path), 16)
    assert next(iter(frames)).astype(int) == pytest.approx(np.full((16, 16, 3), expected), abs=3)


def one_picture(path, width, height):
    """Write a video of one picture; return the clip."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=1)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        frame = av.VideoFrame(width, height, "yuv420p")
        frame.pts, frame.time_base = 0, Fraction(1, 1)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return Clip(path)


@pytest.mark.parametrize("width, height", [(64, 2), (2, 64)])
def test_a_picture_as_long_and_narrow_as_is_allowed(tmp_path, width, height):
    assert len(list(read_frames(one_picture(tmp_path / "wide.nut", width, height), 16))) == 1


@pytest.mark.parametrize("width, height", [(66, 2), (2, 66), (16384, 2), (2, 16384)])
def test_a_picture_too_long_and_narrow(tmp_path, width, height):
    clip = one_picture(tmp_path / "wide.nut", width, height)
    problem = f"a picture of {width} × {height} pixels is too long and narrow; pass a clip of an ordinary shape"
    with pytest.raises(AlstmError, match=problem):
        list(read_frames(clip, 299))


FILTERS = {"bilinear": 2, "bicubic": 3, "lanczos": 1}  # as Pillow numbers them


@pytest.fixture(scope="module")
def smooth(tmp_path_factory):
    """Write a clip of one picture, 160 × 120, without loss; return the clip and the picture."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3)).astype(np.uint8)
    picture = np.asarray(Image.fromarray(noise).resize((160, 120), Image.Resampling.BICUBIC))
    path = tmp_path_factory.mktemp("fit") / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=1)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "bgr0"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="bgr0")))
        container.mux(stream.encode(None))
    return Clip(path), Image.fromarray(picture)


@pytest.mark.parametrize("name, filter_", FILTERS.items())
@pytest.mark.parametrize(
    "squeeze, shorter, size, left, top",
    [
        (False, 48, (64, 48), 12, 4),
        (False, None, (53, 40), 6, 0),
        (True, None, (40, 40), 0, 0),
        (True, 48, (48, 48), 4, 4),
    ],
)
def test_how_a_picture_becomes_a_square(smooth, name, filter_, squeeze, shorter, size, left, top):
    """As Pillow scales it, with which transformers and torchvision prepare pictures; other filters are further off."""
    clip, picture = smooth
    [found] = read_frames(clip, Fit(40, shorter, squeeze, name))
    away = {}
    for each in FILTERS.values():
        right = np.asarray(picture.resize(size, Image.Resampling(each)))[top : top + 40, left : left + 40]
        away[each] = np.abs(found.astype(int) - right).mean()
    assert away[filter_] == min(away.values()) < 1


def test_tensorflow_1s_squares(smooth):
    """The whole picture, from the pixels as they are; :mod:`test_yt8m_resize` knows TensorFlow's own numbers."""
    clip, picture = smooth
    [found] = read_frames(clip, Fit(40, squeeze=True, filter="tensorflow1"))
    pixels = np.asarray(picture).astype(np.float32)
    assert found.dtype == np.float32 and np.abs(found - pixels[::3, ::4]).max() <= 1  # 120 / 40 and 160 / 40
