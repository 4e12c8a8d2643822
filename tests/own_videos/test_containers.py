"""Test which files are opened as videos: by the name of their format, and nothing beside them."""

from __future__ import annotations

import os
import socket
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos import containers
from alstm_helpers.own_videos.containers import open_video
from alstm_helpers.own_videos.flashdigits_clips import Encoding, write_video

GREY = np.full((3, 64, 64, 3), 90, np.uint8)
NOT_A_VIDEO = (
    "it is a playlist, a picture, text or of another kind that is not a video; pass the video files themselves"
)


def refused(path):
    """Return why a file is refused."""
    with pytest.raises(AlstmError) as caught, open_video(path):
        pass
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


HLS = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nother.ts\n"  # without an end: it waits for more
DASH = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT3S"><Period>
<AdaptationSet mimeType="video/mp4"><Representation id="0"><BaseURL>other.ts</BaseURL></Representation></AdaptationSet>
</Period></MPD>"""
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
TEXTS = {
    "live.m3u8": HLS,
    "live.mp4": HLS,
    "list.ffconcat": "ffconcat version 1.0\nfile other.ts\n",
    "list.mp4": "ffconcat version 1.0\nfile other.ts\n",
    "itself.mp4": "ffconcat version 1.0\nfile itself.mp4\n",
    "dash.mpd": DASH,
    "dash.mp4": DASH,
    "session.sdp": SDP,
    "notes.nfo": "nothing to see\n" * 50,
    "notes.mp4": "nothing to see\n" * 50,
    "terminal.ans": "\x1b[1mbold\n" * 50,
    "subtitles.srt": "1\n00:00:00,000 --> 00:00:02,000\nHello\n",
    "subtitles.mp4": "WEBVTT\n\n00:00.000 --> 00:02.000\nHello\n",
    "empty.mp4": "",
}


@pytest.mark.posix
@pytest.mark.parametrize("name", TEXTS)
def test_playlists_and_texts_are_refused_and_what_they_name_is_not_opened(tmp_path, name):
    """Whoever opened the named pipe beside it would wait for ever."""
    os.mkfifo(tmp_path / "other.ts")
    (tmp_path / name).write_text(TEXTS[name])
    assert refused(tmp_path / name).startswith((NOT_A_VIDEO, "it cannot be opened as a video (Invalid data"))


@pytest.mark.parametrize("codec", ["png", "mjpeg", "bmp"])
@pytest.mark.parametrize("suffix", [".mp4", ".png"])
def test_pictures_are_refused(tmp_path, codec, suffix):
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width = encoder.height = 64
    encoder.pix_fmt = {"png": "rgb24", "mjpeg": "yuvj420p", "bmp": "bgr24"}[codec]
    encoder.time_base = Fraction(1, 1)
    packets = encoder.encode(av.VideoFrame.from_ndarray(GREY[0], format="rgb24").reformat(format=encoder.pix_fmt))
    path = tmp_path / f"picture{suffix}"
    path.write_bytes(b"".join(map(bytes, [*packets, *encoder.encode(None)])))
    assert refused(path) == NOT_A_VIDEO


@pytest.mark.posix
def test_what_is_no_ordinary_file_is_not_opened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.mp4")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # the name of a socket may not be long
        server.bind("socket.mp4")
        for path in (tmp_path / "pipe.mp4", tmp_path / "socket.mp4", Path("/dev/zero"), tmp_path):
            assert refused(path) == "not a file; check the path"


def test_pictures_of_an_unknown_codec(tmp_path):
    """As a camera's own format would look; decoding such a stream would crash the process."""
    write_video(tmp_path / "a.mp4", GREY, None)
    content = (tmp_path / "a.mp4").read_bytes()
    at = content.rindex(b"avc1")
    (tmp_path / "b.mp4").write_bytes(content[:at] + b"zz99" + content[at + 4 :])
    assert refused(tmp_path / "b.mp4").startswith("FFmpeg cannot decode the format of its pictures; play it")


def test_sound_of_an_unknown_codec(tmp_path):
    """It is passed over, as a player does."""
    sound = np.zeros((3, 16_000), np.float32)
    write_video(tmp_path / "a.mov", GREY, sound, Encoding(audio_codec="pcm_s16le"))
    content = (tmp_path / "a.mov").read_bytes()
    assert content.count(b"sowt") == 1
    (tmp_path / "b.mov").write_bytes(content.replace(b"sowt", b"zz99"))
    with open_video(tmp_path / "a.mov") as video:
        assert video.sound is not None
    with open_video(tmp_path / "b.mov") as video:
        assert video.sound is None


@pytest.mark.parametrize("sizes", [((64, 64), (48, 128)), ((48, 128), (64, 64))])
def test_of_several_pictures_those_with_most_pixels_are_taken(tmp_path, sizes):
    with av.open(str(tmp_path / "a.nut"), "w") as container:
        streams = []
        for width, height in sizes:
            stream = container.add_stream("mpeg4", rate=1)
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            streams.append(stream)
        for stream in streams:
            frame = av.VideoFrame(stream.width, stream.height, "yuv420p")
            container.mux([*stream.encode(frame), *stream.encode(None)])
    with open_video(tmp_path / "a.nut") as video:
        assert (video.pictures.width, video.pictures.height) == (48, 128)


def test_every_format_is_known_to_ffmpeg():
    known = {part for name in av.formats_available for part in name.split(",")}
    assert set(containers.FORMATS) - known == set()


def test_a_failure_of_ffmpeg_while_reading_is_one_sentence(tmp_path):
    write_video(tmp_path / "a.mp4", GREY, None)
    with pytest.raises(AlstmError, match="it cannot be read as a video") as caught, open_video(tmp_path / "a.mp4"):
        raise av.InvalidDataError(1, "damaged")
    assert caught.value.where == str(tmp_path / "a.mp4")
