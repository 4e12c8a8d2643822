"""Video files as a network takes them: one picture a second, and one second of sound beside it.

::

    clip.mp4 ─ PyAV ─┬ read_frames → uint8 (S, S, 3), one a second     YouTube-8M samples the same way: 1 Hz, and
                     └ read_sound → float32 (T, rate)                   at most 300 seconds (arXiv:1609.08675, §3)

PyAV carries FFmpeg, so every container and codec that FFmpeg reads is read. Only the pictures that are asked for are
converted, one at a time: memory does not grow with the length of a file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from alstm_helpers.errors import AlstmError
from alstm_helpers.files import require_file

MAX_SECONDS = 300
SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts"),
    *(".mpg", ".mpeg", ".flv", ".wmv", ".3gp", ".ogv"),
)
_PLAYLISTS = ("hls", "concat", "dash", "applehttp")
_COVER = 0x400  # AV_DISPOSITION_ATTACHED_PIC: the picture of a song
_REMEDY = "play it in a player; if that works, convert it: ffmpeg -i FILE -c:v libx264 -c:a aac new.mp4"


@dataclass
class Clip:
    """A stretch of a video file, and what was odd while it was read.

    Args:
        path: of the file.
        start, stop: seconds of the file; no more than 300 of them are read.
        notes: filled while reading, one sentence each, such as that the file breaks off.
    """

    path: Path
    start: float = 0.0
    stop: float | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The file, and the stretch when it is not all of it."""
        return str(self.path) if self.stop is None else f"{self.path} ({self.start:g}–{self.stop:g} s)"

    @property
    def limit(self) -> float:
        """Where reading ends at the latest."""
        longest = self.start + MAX_SECONDS
        return longest if self.stop is None else min(self.stop, longest)


def read_frames(clip: Clip, size: int) -> Iterator[np.ndarray]:
    """The picture that is shown in the middle of each second, its shorter side scaled to ``size``, its middle cut out.

    A picture stays until the next one comes, so a variable frame rate needs no care. Rotation flags are followed, as
    players do. A second counts when its middle lies in the clip; a clip has at least one.

    Args:
        clip: what to read; gets a note when the file breaks off.
        size: side of the square, in pixels.

    Yields:
        uint8 (size, size, 3), red, green, blue.

    Raises:
        AlstmError: the file cannot be opened, or has no picture there.
    """
    count = 0

    def wanted() -> float:
        return clip.start + count + 0.5

    with _opened(clip) as (container, stream, zero):
        stream.thread_type = "AUTO"
        _seek(container, clip, zero)
        stated = float(stream.duration * (stream.time_base or 0)) if stream.duration else _stated(container)
        if clip.stop is None and stated and stated > MAX_SECONDS + 0.5:
            clip.notes.append(f"only the first {MAX_SECONDS} of its {stated:.0f} seconds are used")
        shown, end = None, 0.0
        for frame, time in _decoded(container, stream, clip, zero):
            while shown is not None and time > wanted():
                if count and wanted() >= clip.limit:
                    return
                yield _square(shown, stream, size)
                count += 1
            shown, end = frame, time + _duration(frame, stream)
        if shown is None:
            raise AlstmError(clip.name, "no picture in it can be decoded", _REMEDY)
        if end <= clip.start:
            raise AlstmError(clip.name, f"the file ends after {end:.1f} s", "correct the times of the label")
        if stated and end < min(stated, clip.limit) - 1.5:
            clip.notes.append(f"the file says {stated:.0f} s and breaks off after {end:.0f}")
        elif clip.stop is not None and end < clip.stop - 1:
            clip.notes.append(f"the label ends at {clip.stop:g} s, the file at {end:.0f}")
        while not count or wanted() < min(end, clip.limit):
            yield _square(shown, stream, size)
            count += 1


def read_sound(clip: Clip, seconds: int, rate: int) -> np.ndarray:
    """The sound beside the pictures, mixed to one channel; silence where the file has none.

    Args:
        clip: what to read; gets a note when there is no sound, or it cannot be decoded.
        seconds: T, how many there are pictures.
        rate: samples a second.

    Returns:
        float32 (T, rate), usually between -1 and 1.
    """
    import av

    sound = np.zeros(seconds * rate, np.float32)
    with _opened(clip) as (container, _, zero):
        # Phones also write tracks that nobody else can decode, such as Apple's spatial sound.
        stream = next((each for each in container.streams.audio if each.codec_context is not None), None)
        if stream is None:
            clip.notes.append("no sound: silence takes its place")
            return sound.reshape(seconds, rate)
        _seek(container, clip, zero)
        resampler: Any = None
        kind, expected, position = None, 0.0, 0
        for frame, time in _decoded(container, stream, clip, zero):
            if time > clip.start + seconds:
                break
            found = (frame.sample_rate, frame.layout.name, frame.format.name)
            if found != kind or abs(time - expected) > 0.05:  # the beginning, a gap, or another kind of sound
                kind = found
                resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
                position = round((time - clip.start) * rate)
            expected = time + frame.samples / frame.sample_rate
            frame.pts = None  # where a sample belongs is reckoned here
            for part in resampler.resample(frame):
                position = _put(sound, part, position)
        for part in resampler.resample(None) if resampler else ():
            position = _put(sound, part, position)
        if resampler is None:
            clip.notes.append("none of its sound can be decoded: silence takes its place")
    return sound.reshape(seconds, rate)


def _put(sound: np.ndarray, part: Any, position: int) -> int:
    """Copy samples to their place, as far as they lie in the clip; the place of the next ones."""
    samples = part.to_ndarray().ravel()
    first, last = max(position, 0), min(position + len(samples), len(sound))
    if first < last:
        sound[first:last] = samples[first - position : last - position]
    return position + len(samples)


@contextlib.contextmanager
def _opened(clip: Clip) -> Iterator[tuple[Any, Any, float]]:
    """The container, its picture stream, and the time at which the pictures begin."""
    import av

    require_file(clip.path, "check the path")
    try:
        container = av.open(str(clip.path.absolute()), metadata_errors="ignore")
    except (av.FFmpegError, ValueError, OSError) as error:
        problem = f"it cannot be opened as a video ({getattr(error, 'strerror', None) or error})"
        raise AlstmError(clip.path, problem, _REMEDY) from None
    with container:
        if container.format.name in _PLAYLISTS:  # it would have other files read
            raise AlstmError(clip.path, "it is a playlist, not a video", "pass the video files themselves")
        streams = [each for each in container.streams.video if not each.disposition & _COVER]
        if not streams:
            problem = "it has no pictures, only sound" if container.streams.audio else "it has no pictures"
            raise AlstmError(clip.path, problem, "AttentionLSTM needs both; pass a file with a video track")
        stream = streams[0]
        yield container, stream, float((stream.start_time or 0) * (stream.time_base or 0))


def _seek(container: Any, clip: Clip, zero: float) -> None:
    """To the key frame before the clip, if that saves reading."""
    import av

    if clip.start > 1:
        with contextlib.suppress(av.FFmpegError):  # what cannot be sought in is read from its beginning
            container.seek(int((clip.start + zero) * 1_000_000), backward=True)


def _decoded(container: Any, stream: Any, clip: Clip, zero: float) -> Iterator[tuple[Any, float]]:
    """Frames and their times from the first picture on; what is damaged is noted, and left out if nothing is left."""
    import av

    packets, spoilt, time = container.demux(stream), 0, 0.0
    try:
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.FFmpegError):  # the end, or as good as that: the duration tells
                return
            try:
                frames = packet.decode()
            except av.FFmpegError:
                spoilt += 1
                continue
            for frame in frames:
                spoilt += bool(frame.is_corrupt)  # what is left of it is used
                time = time + 0.04 if frame.time is None else frame.time - zero
                yield frame, time
    finally:
        if spoilt:
            clip.notes.append(f"{spoilt} damaged pieces of its {stream.type}")


def _duration(frame: Any, stream: Any) -> float:
    """How long a picture stays, in seconds."""
    if frame.duration:
        return float(frame.duration * frame.time_base)
    return float(1 / stream.average_rate) if stream.average_rate else 0.04


def _stated(container: Any) -> float | None:
    return container.duration / 1_000_000 if container.duration else None


def _square(frame: Any, stream: Any, size: int) -> np.ndarray:
    """A picture as a viewer sees it, uint8 (size, size, 3): pixels made square, upright, the middle cut out."""
    width, height = frame.width * float(stream.sample_aspect_ratio or 1), frame.height
    scale = size / min(width, height)
    shape = {"width": max(size, round(width * scale)), "height": max(size, round(height * scale))}
    image = frame.reformat(**shape, format="rgb24", interpolation="AREA").to_ndarray()
    image = np.rot90(image, round(frame.rotation / 90))  # both count against the clock
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return np.ascontiguousarray(image[top : top + size, left : left + size])


def find_videos(sources: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Video files among the sources and below those that are folders, in order of their paths, each once.

    Raises:
        AlstmError: a source is missing, or a folder has no video.
    """
    found: dict[Path, None] = {}
    for source in map(Path, sources):
        if source.is_dir():
            inside = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
            if not inside:
                raise AlstmError(source, "no video in this folder", f"put files here that end in {' '.join(SUFFIXES)}")
            found |= dict.fromkeys(inside)
        else:
            found[require_file(source, "check the path")] = None
    return list(found)
