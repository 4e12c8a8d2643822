"""Test that what is read of a video file is what a player shows; FFmpeg's own command stands for the players."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from alstm_helpers.own_videos.media import Clip, read_frames, read_sound

FFMPEG = shutil.which("ffmpeg")
pytestmark = pytest.mark.skipif(FFMPEG is None, reason="needs FFmpeg's command")

RATE, FPS, SECONDS = 16_000, 25, 6
H264 = "-c:v libx264 -preset veryfast -g 50"
H265 = "-c:v libx265 -x265-params log-level=none"
MPEG2 = "-c:v mpeg2video -bf 2 -g 50"
JUMP = "its clock jumps once, first at 6 s; it is read on without a gap"


def ffmpeg(folder, arguments):
    """Run FFmpeg's command in a folder."""
    command = [str(FFMPEG), "-nostdin", "-loglevel", "error", "-y", *arguments.split()]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)


class Seconds(NamedTuple):
    """What is seen and heard: the grey level of each second, and its strongest frequency in Hz, 0 for silence."""

    levels: list[int]
    pitches: list[int]

    def part(self, start, stop):
        return Seconds(self.levels[start:stop], self.pitches[start:stop])


def pitch(samples):
    samples = samples[2000:-2000]
    loud = np.abs(samples).max() > 0.05
    return int(np.abs(np.fft.rfft(samples)).argmax() * RATE / len(samples)) if loud else 0


def played(path, *, sound=True):
    """Return what FFmpeg's command makes of the middle of each second of a file."""
    heard = f"-vn -af aresample=async=1:first_pts=0 -ar {RATE} -ac 1 -f f32le heard" if sound else ""
    seen = f"-an -r {FPS} -fps_mode cfr -s 16x16 -pix_fmt gray -f rawvideo seen"
    ffmpeg(path.parent, f"-i {path.name} {seen} {heard}")
    levels = np.fromfile(path.parent / "seen", np.uint8).reshape(-1, 16, 16)[FPS // 2 :: FPS].mean((1, 2))
    samples = np.fromfile(path.parent / "heard", np.float32) if sound else np.zeros(0, np.float32)
    samples = np.pad(samples, (0, len(levels) * RATE))[: len(levels) * RATE].reshape(-1, RATE)
    return Seconds([round(level) for level in levels], [pitch(second) for second in samples])


def read(path, start=0.0, stop=None):
    """Return what this package makes of a clip, and its notes."""
    frames = read_frames(Clip(path, start, stop), 16)
    levels = [round(float(frame.mean())) for frame in frames]
    sound = read_sound(Clip(path, start, stop), len(levels), RATE)
    return Seconds(levels, [pitch(second) for second in sound.samples]), frames.notes + sound.notes


def assert_alike(found, expected):
    assert len(found.levels) == len(expected.levels), (found, expected)
    assert found.levels == pytest.approx(expected.levels, abs=4)
    assert found.pitches == pytest.approx(expected.pitches, abs=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with two recordings, whose grey levels and pitches tell their seconds: 0 to 5, and 6 to 11."""
    path = tmp_path_factory.mktemp("videos")
    for name, first in (("a", 0), ("b", SECONDS)):
        pictures = f"nullsrc=s=64x64:r={FPS}:d={SECONDS},geq=lum='30+15*(floor(T)+{first})':cb=128:cr=128"
        sound = f"aevalsrc='0.5*sin(2*PI*(300+100*(floor(t)+{first}))*t)':s=48000:d={SECONDS}"
        ffmpeg(path, f"-f lavfi -i {pictures} -f lavfi -i {sound} -c:v ffv1 -pix_fmt yuv420p -c:a pcm_s16le {name}.nut")
    return path


FORMATS = {
    "h264.mp4": f"{H264} -c:a aac",
    "fragments.mp4": f"{H264} -c:a aac -movflags frag_keyframe+empty_moov",
    "ten_bits.mp4": f"{H265} -pix_fmt yuv420p10le -c:a aac",
    "av1.mp4": "-c:v libsvtav1 -preset 12 -c:a aac",
    "prores.mov": "-c:v prores_ks -c:a pcm_s16le",
    "h264.mkv": f"{H264} -c:a libopus",
    "one_key_frame.mkv": f"{H264} -g 9999 -c:a aac",
    "odd_size.mkv": f"{H264} -s 67x53 -pix_fmt yuv444p -c:a flac",
    "vp8.webm": "-c:v libvpx -deadline realtime -cpu-used 8 -c:a libvorbis",
    "vp9.webm": "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus",
    "divx.avi": "-c:v mpeg4 -bf 2 -vtag DIVX -c:a libmp3lame",
    "mjpeg.avi": "-c:v mjpeg -c:a pcm_s16le",
    "h264.ts": f"{H264} -c:a aac",
    "hevc.ts": f"{H265}:keyint=50:open-gop=1:bframes=3 -c:a aac",
    "one_key_frame.ts": f"{H264} -g 9999 -c:a aac",
    "refresh.ts": f"{H264} -x264-params intra-refresh=1:keyint=50 -c:a aac",
    "interlaced.mts": f"{MPEG2} -flags +ildct+ilme -c:a mp2",
    "h264.m2ts": f"{H264} -c:a ac3",
    "mpeg2.mpg": f"{MPEG2} -c:a mp2",
    "mpeg1.mpg": "-c:v mpeg1video -bf 2 -g 50 -c:a mp2",
    "telecine.vob": f"-vf fps=24000/1001,telecine {MPEG2} -c:a ac3",
    "h264.flv": f"{H264} -c:a aac",
    "wmv2.wmv": "-c:v wmv2 -c:a wmav2",
    "theora.ogv": "-c:v libtheora -c:a libvorbis",
    "h263.3gp": "-s 176x144 -c:v h263 -c:a aac -ar 16000",
    "mpeg2.mxf": "-s 720x576 -c:v mpeg2video -c:a pcm_s16le",
    "cinepak.rm": "-s 176x144 -c:v rv10 -c:a ac3",
    "clock_wraps.ts": f"{H264} -c:a aac -output_ts_offset 95440",
    "starts_at_100.mkv": f"{H264} -c:a aac -output_ts_offset 100",
    "starts_at_1000.ts": f"{H264} -c:a aac -output_ts_offset 1000",
    "slow.mp4": f"-vf fps=1:round=down {H264} -c:a aac",
    "ntsc.mp4": f"-r 30000/1001 {H264} -c:a aac",
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats(folder, name):
    """The whole file, and seconds 2 to 5 of it, which begin between two key frames."""
    path = folder / name
    ffmpeg(folder, f"-i a.nut {FORMATS[name]} {name}")
    expected = played(path)
    assert len(expected.levels) == SECONDS
    for start, stop in ((0, None), (2, 5)):
        found, notes = read(path, start, stop)
        assert_alike(found, expected.part(start, stop))
        assert notes == []


RAW = {
    "ten.h264": ("-r 10 -c:v libx264 -bf 2", []),
    "ten.hevc": (f"-r 10 {H265}", []),
    "ten.m4v": ("-r 10 -c:v mpeg4 -f m4v", []),
    "fifty.h264": ("-r 50 -c:v libx264", []),
    "silent.y4m": ("", []),
    "silent.gif": ("", []),
    "ten.mjpeg": (
        "-r 10 -c:v mjpeg -f mjpeg",
        ["its pictures carry neither times nor a rate: 25 a second are assumed"],
    ),
}


@pytest.mark.parametrize("name", RAW)
def test_pictures_alone(folder, name):
    """The rate of bare streams is in their headers, if anywhere."""
    arguments, expected_notes = RAW[name]
    ffmpeg(folder, f"-i a.nut -an {arguments} {name}")
    expected = played(folder / name, sound=False)
    found, notes = read(folder / name)
    assert found.levels == pytest.approx(expected.levels, abs=4)
    assert notes == [*expected_notes, "no sound: silence takes its place"]
    if not expected_notes:
        assert read(folder / name, 2, 5)[0].levels == pytest.approx(expected.levels[2:5], abs=4)


@pytest.mark.parametrize("suffix, codecs", [("ts", f"{H264} -c:a aac"), ("mpg", f"{MPEG2} -c:a mp2")])
def test_joined_recordings(folder, suffix, codecs):
    """Nothing is lost of files that were joined as they are, with pictures and sound in step."""
    for name in "ab":
        ffmpeg(folder, f"-i {name}.nut {codecs} {name}.{suffix}")
    path = folder / f"joined.{suffix}"
    path.write_bytes(b"".join((folder / f"{name}.{suffix}").read_bytes() for name in "ab"))
    expected = played(path)
    assert len(expected.levels) == 2 * SECONDS
    for start, stop in ((0, None), (2, 5), (8, 11)):
        found, notes = read(path, start, stop)
        assert_alike(found, expected.part(start, stop))
        assert notes == ([] if stop == 5 else [JUMP])


@pytest.mark.parametrize(
    "offset, order, expected_notes",
    [
        (9, "ab", []),  # a gap of 3 s, in which the last picture stays
        (40, "ab", [JUMP]),  # a gap of 34 s
        (40, "ba", [JUMP]),  # back by 40 s
    ],
)
def test_gaps(folder, offset, order, expected_notes):
    ffmpeg(folder, f"-i a.nut {H264} -c:a aac gap_a.ts")
    ffmpeg(folder, f"-i b.nut {H264} -c:a aac -output_ts_offset {offset} gap_b.ts")
    path = folder / "gap.ts"
    path.write_bytes(b"".join((folder / f"gap_{name}.ts").read_bytes() for name in order))
    expected = played(path)
    for start, stop in ((0, None), (2, 5), (9, 11)):
        found, notes = read(path, start, stop)
        assert_alike(found, expected.part(start, stop))
        assert notes == ([] if stop == 5 else expected_notes)


FIRST_LATE = "its first picture comes at 2 s and stands for what is before"
LAST_EARLY = "its pictures end at 6 s, its sound at 8"


@pytest.mark.parametrize(
    "suffix, late, expected_notes",
    [
        *((suffix, "pictures", [FIRST_LATE]) for suffix in ("mkv", "ts", "flv")),
        *((suffix, "sound", [LAST_EARLY]) for suffix in ("mp4", "mkv", "ts")),
    ],
)
def test_one_stream_begins_later(folder, suffix, late, expected_notes):
    """Second 0 is that of the stream which begins first, as in a player."""
    offsets = ("-itsoffset 2", "") if late == "pictures" else ("", "-itsoffset 2")
    streams = " ".join(f"{offset} -i a.nut" for offset in offsets)
    name = f"late_{late}.{suffix}"
    ffmpeg(folder, f"{streams} -map 0:v -map 1:a {H264} -c:a aac {name}")
    expected = played(folder / name)
    for start, stop in ((0, None), (3, 5)):
        found, notes = read(folder / name, start, stop)
        assert_alike(found, expected.part(start, stop))
        assert notes == (expected_notes if start == 0 else [])


def test_a_beginning_cut_off_by_an_edit_list(folder):
    ffmpeg(folder, f"-i a.nut {H264} -c:a aac uncut.mp4")
    ffmpeg(folder, "-ss 1.2 -i uncut.mp4 -c copy cut.mp4")
    expected = played(folder / "cut.mp4")
    assert_alike(read(folder / "cut.mp4")[0], expected)
    assert_alike(read(folder / "cut.mp4", 2, 4)[0], expected.part(2, 4))


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_variable_rate(folder, suffix):
    name = f"variable.{suffix}"
    ffmpeg(folder, f"-i a.nut -an -vf select='lt(t,2)+not(mod(n,45))+gt(t,5)' -fps_mode vfr {H264} {name}")
    expected = played(folder / name, sound=False)
    assert read(folder / name)[0].levels == pytest.approx(expected.levels, abs=4)
    assert read(folder / name, 3, 5)[0].levels == pytest.approx(expected.levels[3:5], abs=4)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_the_default_streams_are_taken(folder, suffix):
    chosen = "-disposition:v:0 0 -disposition:v:1 default -disposition:a:0 0 -disposition:a:1 default"
    ffmpeg(folder, f"-i a.nut -i b.nut -map 0 -map 1 {H264} -c:a aac {chosen} two.{suffix}")
    expected = played(folder / f"two.{suffix}")
    assert expected.levels[0] > 100, "the second recording is shown"
    found, _ = read(folder / f"two.{suffix}")
    assert_alike(found, expected)


def test_the_cover_is_not_taken(folder):
    ffmpeg(folder, "-i b.nut -frames:v 1 cover.png")
    codecs = f"{H264} -c:v:0 copy -c:a aac -disposition:v:0 attached_pic"
    ffmpeg(folder, f"-i cover.png -i a.nut -map 0 -map 1 {codecs} cover.mp4")
    assert_alike(read(folder / "cover.mp4")[0], played(folder / "cover.mp4"))


COLOURS = {
    "bt601.mkv": "-vf scale=out_color_matrix=bt601 -colorspace smpte170m -c:v ffv1 -pix_fmt yuv444p",
    "bt709.mkv": "-vf scale=out_color_matrix=bt709 -colorspace bt709 -c:v ffv1 -pix_fmt yuv444p",
    "full_range.mkv": "-vf scale=out_range=full -color_range pc -c:v ffv1 -pix_fmt yuv444p",
    "yuvj.avi": "-c:v mjpeg -pix_fmt yuvj444p -q:v 1",
    "rgb.mkv": "-c:v ffv1 -pix_fmt bgr0",
    "ten_bits.mkv": "-c:v ffv1 -pix_fmt yuv422p10le",
    "grey.mkv": "-c:v ffv1 -pix_fmt gray",
    "palette.gif": "",
}


@pytest.mark.parametrize("name", COLOURS)
def test_colours(folder, name):
    ffmpeg(folder, f"-f lavfi -i smptehdbars=s=64x64:r=2:d=1 {COLOURS[name]} {name}")
    ffmpeg(folder, f"-i {name} -frames:v 1 -pix_fmt rgb24 -f rawvideo seen")
    expected = np.fromfile(folder / "seen", np.uint8).reshape(64, 64, 3)
    found = next(iter(read_frames(Clip(folder / name), 64)))
    assert np.abs(found.astype(int) - expected).mean() < 1.5


ORIENTATIONS = [
    (1, 0, 0, 1),
    (-1, 0, 0, 1),
    (1, 0, 0, -1),
    (-1, 0, 0, -1),
    (0, 1, 1, 0),
    (0, -1, 1, 0),
    (0, 1, -1, 0),
    (0, -1, -1, 0),
]


@pytest.mark.parametrize("matrix", ORIENTATIONS)
def test_orientations(folder, matrix):
    """Turned and mirrored, as phones and front cameras write it into the track's header."""
    corners = "geq=lum='if(lt(Y,32),if(lt(X,32),235,170),if(lt(X,32),90,16))':cb=128:cr=128"
    ffmpeg(folder, f"-f lavfi -i nullsrc=s=64x64:r=5:d=1,{corners} {H264} -pix_fmt yuv420p corners.mp4")
    content = bytearray((folder / "corners.mp4").read_bytes())
    place = content.index(b"tkhd") + 44  # after version and flags, times and ids
    a, b, c, d = (value << 16 for value in matrix)
    origin = [64 << 16 if a + c < 0 else 0, 64 << 16 if b + d < 0 else 0]
    content[place : place + 36] = np.array([a, b, 0, c, d, 0, *origin, 1 << 30], ">i4").tobytes()
    path = Path(folder, "turned.mp4")
    path.write_bytes(content)
    ffmpeg(folder, "-i turned.mp4 -frames:v 1 -pix_fmt rgb24 -f rawvideo seen")
    expected = np.fromfile(folder / "seen", np.uint8).reshape(64, 64, 3)
    found = next(iter(read_frames(Clip(path), 64)))
    assert np.abs(found.astype(int) - expected).mean() < 2
