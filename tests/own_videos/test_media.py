"""Test reading video files of many kinds, written here: every second that was written is read again."""

from __future__ import annotations

import struct
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.decoding import Decoder
from alstm_helpers.own_videos.flashdigits_clips import Encoding, write_video
from alstm_helpers.own_videos.media import MAX_SECONDS, Clip, read_frames, read_sound

RATE = 16_000


def grey(levels, height=64, width=64):
    """Return pictures of one grey level each, uint8 (T, h, w, 3)."""
    return np.repeat(np.uint8(levels), height * width * 3).reshape(len(levels), height, width, 3)


def tones(frequencies, rate=RATE):
    """Return one tone per second, float32 (T, rate)."""
    times = np.arange(rate) / rate
    return np.stack([0.5 * np.sin(2 * np.pi * f * times) for f in frequencies]).astype(np.float32)


def pitch(second):
    """Return the strongest frequency of a second, in Hz."""
    return int(np.abs(np.fft.rfft(second)).argmax() * RATE / len(second))


def levels_and_notes(clip, size=16):
    """Return the grey level of each second, and notes on the file."""
    frames = read_frames(clip, size)
    return [int(frame[4:-4, 4:-4].mean().round()) for frame in frames], frames.notes


def levels(clip, size=16):
    return levels_and_notes(clip, size)[0]


LEVELS = [20, 60, 100, 140, 180, 220]
PITCHES = [300, 500, 700, 900, 1100, 1300]


@pytest.mark.parametrize(
    "suffix, codec, audio_codec",
    [
        (".mp4", "libx264", "aac"),
        (".mkv", "libx264", "libopus"),
        (".webm", "libvpx-vp9", "libopus"),
        (".avi", "mpeg4", "libmp3lame"),
        (".mov", "mpeg4", "aac"),
        (".ts", "libx264", "aac"),
        (".mkv", "libx265", "pcm_s16le"),
    ],
)
def test_every_container_gives_the_seconds_that_were_written(tmp_path, suffix, codec, audio_codec):
    path = tmp_path / f"片段 a{suffix}"
    rate = 48_000 if audio_codec == "libopus" else RATE
    options = {"x265-params": "log-level=none"} if codec == "libx265" else None
    encoding = Encoding(codec=codec, audio_codec=audio_codec, options=options)
    write_video(path, grey(LEVELS), tones(PITCHES, rate), encoding)
    found, notes = levels_and_notes(Clip(path))
    assert np.abs(np.array(found) - LEVELS).max() <= 3
    sound, notes_on_sound = read_sound(Clip(path), 6, RATE)
    assert sound.shape == (6, RATE) and sound.dtype == np.float32
    assert [pitch(second[RATE // 4 : -RATE // 4]) for second in sound] == pytest.approx(PITCHES, abs=3)
    assert notes == notes_on_sound == []


def test_the_frames_are_squares_of_the_middle(tmp_path):
    """Of a wide picture the left and right edges are cut off; nothing is squeezed."""
    frames = grey([200] * 2, 64, 192)
    frames[:, :, :64] = 0
    frames[:, :, 128:] = 0
    write_video(tmp_path / "wide.mp4", frames, None)
    found = np.stack(list(read_frames(Clip(tmp_path / "wide.mp4"), 32)))
    assert found.shape == (2, 32, 32, 3) and found.dtype == np.uint8
    assert found[:, :, 3:-3].mean() > 190


@pytest.mark.parametrize("seconds, expected", [(0.2, 1), (0.4, 1), (1.0, 1), (1.4, 1), (1.6, 2), (5.0, 5), (5.4, 5)])
def test_a_second_counts_when_its_middle_is_there(tmp_path, seconds, expected):
    path = tmp_path / "short.mp4"
    encode(path, [(index / 10, 100) for index in range(round(seconds * 10))], step=0.1)
    assert len(levels(Clip(path))) == expected


def encode(path, shown, *, step=0.04, size=64, start_sound=None, sound=None):
    """Write pictures (time, level) at any times, and sound that may begin later."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10", "preset": "ultrafast", "bf": "0"})
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        voice = container.add_stream("aac", rate=RATE, layout="mono") if sound is not None else None
        for time, level in shown:
            frame = av.VideoFrame.from_ndarray(grey([level], size, size)[0], format="rgb24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            for packet in stream.encode(frame):
                packet.duration = round(step * 1000)
                container.mux(packet)
        for packet in stream.encode(None):
            packet.duration = round(step * 1000)
            container.mux(packet)
        if voice is not None:
            for place in range(0, sound.size - 1023, 1024):
                samples = sound.ravel()[None, place : place + 1024]
                part = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
                part.sample_rate, part.time_base = RATE, Fraction(1, RATE)
                part.pts = round(start_sound * RATE) + place
                container.mux(voice.encode(part))
            container.mux(voice.encode(None))


def test_a_variable_frame_rate(tmp_path):
    """Whether one picture lasts two seconds or many fill one, each is shown until the next one comes."""
    shown = [(0.0, 30), (2.3, 90)] + [(2.4 + index / 50, 150) for index in range(60)] + [(4.2, 210), (6.0, 250)]
    encode(tmp_path / "vfr.mp4", shown, step=0.5)
    found = levels(Clip(tmp_path / "vfr.mp4"))
    assert np.abs(np.array(found) - [30, 30, 150, 150, 210, 210]).max() <= 3


def test_a_picture_that_begins_in_the_middle_of_a_second_is_that_of_the_second(tmp_path):
    encode(tmp_path / "a.mp4", [(0.0, 30), (0.5, 90), (1.5, 150)], step=0.5)
    assert levels(Clip(tmp_path / "a.mp4")) == pytest.approx([90, 150], abs=3)


@pytest.mark.parametrize("seconds, notes", [(10.0, []), (10.2, ["one picture is shown from 0 to 10 s"])])
def test_a_picture_may_stay_for_ten_seconds_without_a_note(tmp_path, seconds, notes):
    encode(tmp_path / "still.mp4", [(0.0, 30), (seconds, 90)], step=0.5)
    assert levels_and_notes(Clip(tmp_path / "still.mp4"))[1] == notes


def test_sound_that_begins_later_is_in_its_own_second(tmp_path):
    encode(tmp_path / "late.mp4", [(i / 5, 99) for i in range(25)], step=0.2, start_sound=2.0, sound=tones([700, 900]))
    sound = read_sound(Clip(tmp_path / "late.mp4"), 5, RATE).samples
    loud = [float(np.abs(second).max()) > 0.2 for second in sound]
    assert loud == [False, False, True, True, False]
    assert pitch(sound[2][4000:12000]) == pytest.approx(700, abs=4)


def rotated(path, target, quarter):
    """Write a copy whose track header asks players to rotate the picture clockwise by quarter turns."""
    matrix = {1: (0, 1, -1, 0), 2: (-1, 0, 0, -1), 3: (0, -1, 1, 0)}[quarter]
    a, b, c, d = (value << 16 for value in matrix)
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd")
    place = at + 4 + 40  # version and flags, then times and ids of version 0
    assert struct.unpack(">9i", content[place : place + 36])[0] == 1 << 16
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    target.write_bytes(content)


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_rotation_flags_are_followed(tmp_path, quarter):
    """A phone held upright writes landscape pictures and a flag; the bright edge is where a player shows it."""
    frames = grey([20, 20], 64, 96)
    frames[:, :20] = 230  # bright on top, as stored
    write_video(tmp_path / "a.mp4", frames, None)
    rotated(tmp_path / "a.mp4", tmp_path / "b.mp4", quarter)
    found = next(iter(read_frames(Clip(tmp_path / "b.mp4"), 48)))
    edges = {"right": found[:, -6:], "bottom": found[-6:], "left": found[:, :6], "top": found[:6]}
    brightest = max(edges, key=lambda edge: edges[edge].mean())
    assert brightest == {1: "right", 2: "bottom", 3: "left"}[quarter] and found.shape == (48, 48, 3)


def test_no_sound_is_silence_with_a_note(tmp_path):
    write_video(tmp_path / "mute.mp4", grey(LEVELS), None)
    sound, notes = read_sound(Clip(tmp_path / "mute.mp4"), 6, RATE)
    assert not sound.any()
    assert notes == ["no sound: silence takes its place"]


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".avi"])
def test_a_broken_tail_gives_the_rest_and_a_note(tmp_path, suffix):
    rng = np.random.default_rng(0)  # pictures that compress badly, so that half of the bytes is half of the time
    frames = np.concatenate([rng.integers(0, 255, (12, 64, 64, 3)).astype(np.uint8)])
    path = tmp_path / f"a{suffix}"
    encoding = Encoding(codec="mpeg4", audio_codec="libmp3lame") if suffix == ".avi" else Encoding()
    write_video(path, frames, tones([500] * 12), encoding)
    broken = tmp_path / f"broken{suffix}"
    broken.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found, notes = levels_and_notes(Clip(broken))
    assert 3 <= len(found) <= 9
    assert read_sound(Clip(broken), len(found), RATE).samples.any()
    if suffix == ".mkv":  # its header states its duration
        assert any("breaks off after" in note for note in notes), notes


@pytest.mark.parametrize("suffix", [".flv", ".mp4"])
def test_joined_files_of_which_only_the_first_can_be_read(tmp_path, suffix):
    rng = np.random.default_rng(0)
    write_video(tmp_path / f"a{suffix}", rng.integers(0, 255, (6, 192, 192, 3)).astype(np.uint8), None)
    content = (tmp_path / f"a{suffix}").read_bytes()
    (tmp_path / f"b{suffix}").write_bytes(2 * content)
    assert levels_and_notes(Clip(tmp_path / f"a{suffix}"))[1] == []
    found, (note,) = levels_and_notes(Clip(tmp_path / f"b{suffix}"))
    assert len(found) == 6 and note.startswith("the last 5") and note.endswith("hold none of its pictures and sound")
    with pytest.raises(AlstmError, match=r"its pictures end after 6\.0 s; the last 5. % of the file hold none"):
        levels(Clip(tmp_path / f"b{suffix}", 8, 9))


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".mp4"])
def test_damage_in_the_middle_costs_only_that(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (12, 64, 64, 3)).astype(np.uint8)
    write_video(path, frames, tones([500] * 12), Encoding(options={"g": "5", "preset": "veryfast"}))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = rng.integers(0, 255, 4000).astype(np.uint8).tobytes()
    path.write_bytes(content)
    found, notes = levels_and_notes(Clip(path))
    assert len(found) in (11, 12, 13)
    if suffix != ".ts":  # there FFmpeg repairs what it can, and says nothing
        assert any(note.endswith("damaged pieces of its video") for note in notes), notes


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda path: path.write_bytes(b""), "cannot be opened as a video"),
        (lambda path: path.write_bytes(b"no video at all" * 100), "cannot be opened as a video"),
        (
            lambda path: path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://192.0.2.1/a.ts\n"),
            "video",
        ),
        (lambda path: path.unlink(missing_ok=True), "no such file"),
    ],
)
def test_a_file_that_is_not_a_video_is_one_sentence(tmp_path, make, said):
    path = tmp_path / "a.mp4"
    make(path)
    with pytest.raises(AlstmError, match=said) as caught:
        list(read_frames(Clip(path), 16))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_truncated_mp4_says_that_it_cannot_be_opened(tmp_path):
    """Its index is at the end."""
    write_video(tmp_path / "a.mp4", grey(LEVELS), None)
    (tmp_path / "b.mp4").write_bytes((tmp_path / "a.mp4").read_bytes()[:-600])
    with pytest.raises(AlstmError, match="cannot be opened as a video"):
        list(read_frames(Clip(tmp_path / "b.mp4"), 16))


def test_only_sound(tmp_path):
    with av.open(str(tmp_path / "song.m4a"), "w", format="mp4") as container:
        voice = container.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(tones([440]).ravel()[None, :1024], format="fltp", layout="mono")
        frame.sample_rate = RATE
        container.mux(voice.encode(frame))
        container.mux(voice.encode(None))
    with pytest.raises(AlstmError, match="no pictures, only sound; AttentionLSTM needs both; give it black ones"):
        list(read_frames(Clip(tmp_path / "song.m4a"), 16))


def test_a_part_of_a_video(tmp_path):
    """Seconds 2 to 5 are found by seeking; the sound is that of the same seconds."""
    write_video(tmp_path / "a.mp4", grey(LEVELS), tones(PITCHES))
    clip = Clip(tmp_path / "a.mp4", 2, 5)
    assert np.abs(np.array(levels(clip)) - LEVELS[2:5]).max() <= 3
    sound = read_sound(clip, 3, RATE).samples
    assert [pitch(second[4000:12000]) for second in sound] == pytest.approx(PITCHES[2:5], abs=4)


@pytest.mark.parametrize("suffix", [".ts", ".mkv"])
def test_the_sound_of_a_part_is_whole_from_its_first_sample(tmp_path, suffix):
    """A decoder needs what comes before."""
    write_video(tmp_path / f"a{suffix}", grey(LEVELS), tones(PITCHES), Encoding(options={"g": "5"}))
    whole = read_sound(Clip(tmp_path / f"a{suffix}"), 6, RATE).samples
    part = read_sound(Clip(tmp_path / f"a{suffix}", 3, 5), 2, RATE).samples
    assert np.abs(part - whole[3:5]).max() < 0.005


def test_a_part_whose_beginning_cannot_be_decoded(tmp_path):
    """The picture before stays, as in a player, though it is not the last one that begins a group of pictures."""
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=5, options={"g": "1"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(30):
            frame = av.VideoFrame.from_ndarray(grey([LEVELS[number // 5]])[0], format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 5)
            for packet in stream.encode(frame):
                if 13 <= number < 19:
                    damaged = av.Packet(bytes(20))
                    damaged.stream, damaged.pts, damaged.dts = stream, packet.pts, packet.dts
                    damaged.time_base, damaged.is_keyframe = packet.time_base, True
                    packet = damaged
                container.mux(packet)
    found, notes = levels_and_notes(Clip(tmp_path / "a.mkv", 3, 6))
    assert found == pytest.approx([LEVELS[2], *LEVELS[4:]], abs=3)
    assert notes == ["6 damaged pieces of its video"]


def test_an_index_that_leads_too_far(tmp_path, monkeypatch):
    def seek_too_far(decoder):
        decoder._video.container.seek(5_000_000)
        return True

    write_video(tmp_path / "a.mkv", grey(LEVELS), tones(PITCHES), Encoding(options={"g": "5"}))
    monkeypatch.setattr(Decoder, "_seek", seek_too_far)
    clip = Clip(tmp_path / "a.mkv", 2, 5)
    assert levels(clip) == pytest.approx(LEVELS[2:5], abs=3)
    sound = read_sound(clip, 3, RATE).samples
    assert [pitch(second[4000:12000]) for second in sound] == pytest.approx(PITCHES[2:5], abs=4)


@pytest.mark.parametrize("name, kind", [("a.gif", "GIF"), ("a.apng", "PNG")])
def test_pictures_that_move_and_are_cut_short(tmp_path, name, kind):
    """These formats do not say how long they are."""
    path, noise = tmp_path / name, np.random.default_rng(0).integers(0, 256, (6, 64, 64), dtype=np.uint8)
    first, *rest = map(Image.fromarray, noise)
    first.save(path, kind, save_all=True, append_images=rest, duration=1000)
    whole = path.read_bytes()

    def found(content):
        path.write_bytes(content)
        frames = read_frames(Clip(path), 64)
        return len(list(frames)), frames.notes

    assert found(whole) == found(whole + 100 * b"\0") == (6, [])
    seconds, notes = found(whole[: len(whole) // 2])
    assert 0 < seconds < 6 and notes == [f"it is cut short after {seconds}.0 s"]


@pytest.mark.parametrize(
    "start, stop, expected",
    [(0.5, 1.0, 1), (1.5, 3.0, 1), (1.5, 3.5, 2), (4.0, 7.0, 2), (4.0, 7.1, 2), (4.0, 60.0, 2), (5.8, 6.0, 1)],
)
def test_parts_at_the_edges(tmp_path, start, stop, expected):
    write_video(tmp_path / "a.mp4", grey(LEVELS), None)
    found, notes = levels_and_notes(Clip(tmp_path / "a.mp4", start, stop))
    assert len(found) == expected
    assert notes == ([f"the label ends at {stop:g} s, the file at 6"] if stop > 7 else [])


@pytest.mark.parametrize("start", [6, 8])
def test_a_part_beyond_the_end(tmp_path, start):
    write_video(tmp_path / "a.mp4", grey(LEVELS), None)
    said = rf"a\.mp4 \({start}–9 s\): its pictures end after 6\.0 s; correct the times"
    with pytest.raises(AlstmError, match=said):
        levels(Clip(tmp_path / "a.mp4", start, 9))


@pytest.mark.parametrize(
    "start, stop, seconds, notes",
    [
        (0, None, 300, ["only the first 300 of its 310 seconds are used"]),
        (2, 309, 300, ["only the first 300 of its 307 seconds are used"]),
        (2, 900, 300, ["only the first 300 of its 308 seconds are used"]),
        (5, 305, 300, []),
        (305, 310, 5, []),
    ],
)
def test_no_more_than_three_hundred_seconds(tmp_path, start, stop, seconds, notes):
    write_video(tmp_path / "long.mp4", grey([100] * 310, 16, 16), None, Encoding(fps=1))
    found, found_notes = levels_and_notes(Clip(tmp_path / "long.mp4", start, stop))
    assert (len(found), found_notes) == (seconds, notes) and MAX_SECONDS == 300


def test_a_long_recording_that_does_not_state_its_length(tmp_path):
    with av.open(str(tmp_path / "live.mkv"), "w", options={"live": "1"}) as container:
        stream = container.add_stream("mpeg4", rate=1)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for second in range(310):
            frame = av.VideoFrame.from_ndarray(grey([100], 16, 16)[0], format="rgb24")
            frame.pts, frame.time_base = second, Fraction(1, 1)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    found, notes = levels_and_notes(Clip(tmp_path / "live.mkv"))
    assert len(found) == 300 and notes == ["only the first 300 seconds are used"]


@pytest.mark.parametrize(
    "times, expected, notes",
    [
        (lambda second: second if second < 3 else second + 20, 26, ["one picture is shown from 3 to 23 s"]),
        (
            lambda second: second if second < 3 else second - 3,
            6,
            ["its clock jumps once, first at 3 s; it is read on without a gap"],
        ),
        (
            lambda second: second and second + 5000,
            6,
            ["its clock jumps once, first at 0 s; it is read on without a gap"],
        ),
    ],
)
def test_times_of_a_recorded_stream_that_jump(tmp_path, times, expected, notes):
    """FLV, in which the times of all that follows are moved: no picture is lost, none is repeated without a note."""
    write_video(tmp_path / "a.flv", grey(LEVELS), None, Encoding(options={"bf": "0"}))
    content, at = bytearray((tmp_path / "a.flv").read_bytes()), 13
    while at + 11 <= len(content):
        size = int.from_bytes(content[at + 1 : at + 4], "big")
        time = round(1000 * times(int.from_bytes(content[at + 4 : at + 7], "big") / 1000))
        content[at + 4 : at + 8] = (time & 0xFFFFFF).to_bytes(3, "big") + bytes([time >> 24])
        at += size + 15
    (tmp_path / "b.flv").write_bytes(content)
    found, found_notes = levels_and_notes(Clip(tmp_path / "b.flv"))
    assert found_notes == notes and len(found) == expected
    kept = found if expected == 6 else found[:3] + found[-3:]
    assert np.abs(np.array(kept) - LEVELS).max() <= 3


def test_4k(tmp_path):
    write_video(tmp_path / "4k.mp4", grey([50, 200], 2160, 3840), None, Encoding(fps=2))
    assert np.abs(np.array(levels(Clip(tmp_path / "4k.mp4"), 299)) - [50, 200]).max() <= 3


def test_ten_bits_a_colour_as_phones_write_them(tmp_path):
    with av.open(str(tmp_path / "hdr.mp4"), "w") as container:
        stream = container.add_stream("libx265", rate=2, options={"x265-params": "log-level=none"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p10le"
        for level in (40, 40, 200, 200):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey([level])[0], format="rgb24")))
        container.mux(stream.encode(None))
    assert np.abs(np.array(levels(Clip(tmp_path / "hdr.mp4"))) - [40, 200]).max() <= 4


def test_six_channels_become_one(tmp_path):
    with av.open(str(tmp_path / "surround.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        voice = container.add_stream("aac", rate=48_000, layout="5.1")
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey([99])[0], format="rgb24")))
        tone = np.tile(tones([600], 48_000).ravel(), 2)
        for place in range(0, len(tone) - 1023, 1024):
            part = np.repeat(tone[None, place : place + 1024], 6, axis=0).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format="fltp", layout="5.1")
            frame.sample_rate, frame.pts, frame.time_base = 48_000, place, Fraction(1, 48_000)
            container.mux(voice.encode(frame))
        container.mux(stream.encode(None))
        container.mux(voice.encode(None))
    sound = read_sound(Clip(tmp_path / "surround.mp4"), 2, RATE).samples
    assert pitch(sound[1][4000:12000]) == pytest.approx(600, abs=4) and np.abs(sound).max() > 0.2


def test_a_recording_whose_end_was_never_written(tmp_path):
    """Browsers and cameras write fragments without a duration; all fragments that were written are used."""
    path = tmp_path / "live.mp4"
    with av.open(str(path), "w", options={"movflags": "frag_keyframe+empty_moov"}) as container:
        stream = container.add_stream("libx264", rate=5, options={"g": "5", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        noise = np.random.default_rng(0).integers(0, 30, (40, 64, 64, 3))  # so that a fragment is more than a few bytes
        for number in range(40):
            picture = grey([30 + 20 * (number // 5)])[0] + noise[number].astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    whole = levels(Clip(path))
    assert len(whole) == 8
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = levels(Clip(path))
    assert 2 <= len(found) < 8 and found == whole[: len(found)]


def test_pictures_without_times(tmp_path):
    """A bare H.264 stream, as some cameras store it, has its frame rate in its header."""
    path = tmp_path / "bare.avi"
    write_video(tmp_path / "a.mp4", grey(LEVELS), None, Encoding(fps=25))
    with av.open(str(tmp_path / "a.mp4")) as source, av.open(str(path), "w", format="h264") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    found = levels(Clip(path))
    assert len(found) in (6, 7) and found[0] == pytest.approx(LEVELS[0], abs=3)


def test_a_picture_that_changes_its_size(tmp_path):
    """A browser's recording changes its size with the window; here two files are joined, as TS allows."""
    parts = []
    for number, size in enumerate((64, 96)):
        part = tmp_path / f"{number}.ts"
        write_video(part, grey([80 + 80 * number] * 3, size, size), None)
        parts.append(part.read_bytes())
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    found = levels(Clip(tmp_path / "both.ts"))
    assert len(found) >= 3 and all(abs(level - 80) <= 3 or abs(level - 160) <= 3 for level in found)


def test_pixels_that_are_not_square(tmp_path):
    """Old television stores pictures narrow and shows them twice as wide; the square is half of what is stored."""
    path = tmp_path / "anamorphic.mp4"
    picture = grey([20], 64, 64)[0]
    picture[:, 20:44] = 220  # 24 of 64 stored columns: shown as 48 of 128, of which the middle 64 are cut out
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=2, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    found = next(iter(read_frames(Clip(path), 64))).mean((0, 2))
    assert int((found > 120).sum()) == pytest.approx(48, abs=3)


@pytest.mark.parametrize("suffix", [".ts", ".mkv"])
def test_times_that_do_not_start_at_zero(tmp_path, suffix):
    """A part of a broadcast starts at 7 s by its clock; the clip starts with its first picture."""
    path = tmp_path / f"piece{suffix}"
    shown = [(7 + n / 5, LEVELS[n // 5]) for n in range(30)]
    encode(path, shown, step=0.2, start_sound=9.0, sound=tones([700, 900]))
    clip = Clip(path)
    found, notes = levels_and_notes(clip)
    assert np.abs(np.array(found) - LEVELS).max() <= 3 and notes == []
    sound = read_sound(clip, 6, RATE).samples
    assert [float(np.abs(second).max()) > 0.2 for second in sound] == [False, False, True, True, False, False]


def test_a_gap_in_the_sound(tmp_path):
    """After a microphone was off for two seconds, the sound is still in its own second."""
    path = tmp_path / "gap.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        voice = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for _ in range(25):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey([99])[0], format="rgb24")))
        container.mux(stream.encode(None))
        for start, hertz in ((0, 500), (3, 900)):
            part = (tones([hertz])[0] * 20_000).astype(np.int16)
            for place in range(0, RATE, 1000):
                frame = av.AudioFrame.from_ndarray(part[None, place : place + 1000], format="s16", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = RATE, start * RATE + place, Fraction(1, RATE)
                container.mux(voice.encode(frame))
    sound = read_sound(Clip(path), 5, RATE).samples
    assert [float(np.abs(second[2000:-2000]).max()) > 0.2 for second in sound] == [True, False, False, True, False]
    assert pitch(sound[3][4000:12000]) == pytest.approx(900, abs=4)


def test_the_cover_of_a_song_is_not_a_video(tmp_path):
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        cover = container.add_stream("mjpeg", rate=1)
        assert isinstance(cover, av.VideoStream)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        voice = container.add_stream("aac", rate=RATE, layout="mono")
        container.mux(cover.encode(av.VideoFrame.from_ndarray(grey([99])[0], format="rgb24")))
        container.mux(cover.encode(None))
        frame = av.AudioFrame.from_ndarray(tones([440]).ravel()[None, :1024], format="fltp", layout="mono")
        frame.sample_rate = RATE
        container.mux(voice.encode(frame))
        container.mux(voice.encode(None))
    with av.open(str(path)) as container:
        assert container.streams.video, "the cover is a picture stream"
    with pytest.raises(AlstmError, match="no pictures, only sound"):
        levels(Clip(path))


MEASURE = """
import sys
from pathlib import Path
from alstm_helpers.own_videos.media import Clip, read_frames, read_sound
from alstm_helpers.runtime import peak_memory
clip = Clip(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
count = sum(1 for _ in read_frames(clip, 64))
read_sound(clip, count, 16000)
print(count, peak_memory() // 2**20)
"""


@pytest.mark.posix
def test_memory_does_not_grow_with_the_file(tmp_path):
    """Reading the end of an hour-long file takes no more memory than reading its beginning."""
    sound = np.tile(tones([440], 8000), (3600, 1))
    encoding = Encoding(fps=1, audio_codec="alac")  # written ten times as fast as AAC, and read in the same way
    write_video(tmp_path / "hour.mp4", grey([100, 150] * 1800, 64, 64), sound, encoding)
    found = []
    for start, stop in ((0, 60), (3500, 3600)):
        command = [sys.executable, "-c", MEASURE, str(tmp_path / "hour.mp4"), str(start), str(stop)]
        found.append([int(text) for text in subprocess.check_output(command, text=True).split()])
    (first, before), (last, after) = found
    assert (first, last) == (60, 100)
    assert after - before < 60, (before, after)  # MiB; the whole hour of sound alone would be 230
