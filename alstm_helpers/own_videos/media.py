"""Read video files as a network takes them: one picture per second, and one second of sound beside it.

::

    clip.mp4 ─ PyAV ─┬ read_frames → uint8 (S, S, 3), one per second    YouTube-8M samples the same way: 1 Hz, and
                     └ read_sound → float32 (T, rate)                   at most 300 seconds (arXiv:1609.08675, §3)

PyAV carries FFmpeg, so every container and codec that FFmpeg reads is read. Only the pictures that are needed are
converted, one at a time, so memory does not grow with the length of a file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from alstm_helpers.errors import AlstmError
from alstm_helpers.files import require_file

if TYPE_CHECKING:
    from av import AudioFrame, AudioResampler, Packet, VideoFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.frame import Frame
    from av.video.stream import VideoStream

MAX_SECONDS = 300
_PLAYLISTS = ("hls", "concat", "dash", "applehttp")
_COVER = 0x400  # AV_DISPOSITION_ATTACHED_PIC: the cover picture of a song
_REMEDY = "play it in a player; if that works, convert it: ffmpeg -i FILE -c:v libx264 -c:a aac new.mp4"
_LONGEST_DRIFT = 0.05  # seconds by which a piece of sound may miss the end of the one before without being a gap


@dataclass(frozen=True)
class Clip:
    """A video file, or a part of it.

    Args:
        path: of the file.
        start, stop: in seconds of the file; ``stop`` is None for its end. At most 300 seconds are read.
    """

    path: Path
    start: float = 0.0
    stop: float | None = None

    @property
    def name(self) -> str:
        """The file, with its start and stop where the clip is a part of it."""
        return str(self.path) if self.stop is None else f"{self.path} ({self.start:g}–{self.stop:g} s)"

    @property
    def limit(self) -> float:
        """The second of the file at which reading ends at the latest."""
        longest = self.start + MAX_SECONDS
        return longest if self.stop is None else min(self.stop, longest)

    def middle(self, second: int) -> float:
        """Return the middle of a second of the clip, in seconds of the file."""
        return self.start + second + 0.5


class Frames:
    """The pictures of a clip, one per second, decoded during iteration; only one is in memory at a time.

    Args:
        clip: what to read.
        size: side of the square pictures, in pixels.

    Attributes:
        notes: one sentence for each oddity of the file, such as that it breaks off; complete after an iteration.
    """

    def __init__(self, clip: Clip, size: int) -> None:
        self.clip, self.size = clip, size
        self.notes: list[str] = []

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield uint8 (size, size, 3) in red, green, blue: the picture shown in the middle of each second."""
        self.notes = []
        count = 0
        with _opened(self.clip) as media, contextlib.closing(self._spans(media)) as spans:
            for frame, until in spans:
                while until > self.clip.middle(count):
                    if count and self.clip.middle(count) >= self.clip.limit:
                        return
                    yield _square(frame, media.pictures, self.size)
                    count += 1
            if not count:  # shorter than half a second
                yield _square(frame, media.pictures, self.size)

    def _spans(self, media: _OpenClip) -> Generator[tuple[VideoFrame, float], None, None]:
        """Yield each picture, and the time at which the next one replaces it or the file ends."""
        media.pictures.thread_type = "AUTO"
        media.seek()
        stated = media.stated_duration()
        if self.clip.stop is None and stated and stated > MAX_SECONDS + 0.5:
            self.notes.append(f"only the first {MAX_SECONDS} of its {stated:.0f} seconds are used")
        decoder = _Decoder(media, media.pictures)
        shown, end = None, 0.0
        try:
            for frame, time in decoder:
                if shown is not None:
                    yield shown, time
                shown, end = frame, time + _duration(frame, media.pictures)
        finally:
            self.notes += decoder.notes()
        if shown is None:
            raise AlstmError(self.clip.name, "no picture in it can be decoded", _REMEDY)
        self._check_end(end, stated)
        yield shown, end

    def _check_end(self, end: float, stated: float | None) -> None:
        """Note a file that ends early; refuse one that ends before the clip starts."""
        clip = self.clip
        if end <= clip.start:
            raise AlstmError(clip.name, f"the file ends after {end:.1f} s", "correct the times of the label")
        if stated and end < min(stated, clip.limit) - 1.5:
            self.notes.append(f"the file says {stated:.0f} s and breaks off after {end:.0f}")
        elif clip.stop is not None and end < clip.stop - 1:
            self.notes.append(f"the label ends at {clip.stop:g} s, the file at {end:.0f}")


def read_frames(clip: Clip, size: int) -> Frames:
    """Return the picture shown in the middle of each second, its shorter side scaled to ``size``, cropped to a square.

    A picture is shown until the next one comes, so a variable frame rate needs no care. Rotation flags are followed,
    as players do. A second counts if its middle is in the clip; a clip has at least one second.

    Args:
        clip: what to read.
        size: side of the square, in pixels.

    Returns:
        An iterable of uint8 (size, size, 3) in red, green, blue. After the iteration its ``notes`` tell whether the
        file is damaged, breaks off or is too long.

    Raises:
        AlstmError: on iteration, if the file cannot be opened or has no picture in the clip.
    """
    return Frames(clip, size)


class Sound(NamedTuple):
    """The sound of a clip: float32 (T, rate), usually between -1 and 1, and notes on what is odd about it."""

    samples: np.ndarray
    notes: list[str]


def read_sound(clip: Clip, seconds: int, rate: int) -> Sound:
    """Return the sound beside the pictures, mixed to one channel; silence where the file has none.

    Args:
        clip: what to read.
        seconds: T, the number of pictures.
        rate: samples per second.

    Returns:
        The samples, and notes such as that there is no sound or that it cannot be decoded.

    Raises:
        AlstmError: the file cannot be opened.
    """
    track = _Track(clip.start, seconds, rate)
    with _opened(clip) as media:
        stream = media.sound()
        if stream is None:
            return Sound(track.samples, ["no sound: silence takes its place"])
        media.seek()
        decoder = _Decoder(media, stream)
        for frame, time in decoder:
            if time > clip.start + seconds:
                break
            track.add(frame, time)
        track.flush()
        notes = decoder.notes()
    if track.is_empty:
        notes.append("none of its sound can be decoded: silence takes its place")
    return Sound(track.samples, notes)


class _Track:
    """Samples of a clip, filled piece by piece; what no piece covers stays silent.

    Args:
        start: where the clip starts, in seconds of the file.
        seconds: how many there are, T.
        rate: samples per second.
    """

    def __init__(self, start: float, seconds: int, rate: int) -> None:
        self._start, self._rate = start, rate
        self._flat = np.zeros(seconds * rate, np.float32)
        self._resampler: AudioResampler | None = None
        self._kind: tuple[int, str, str] | None = None
        self._expected = 0.0  # time at which the next frame continues the last one
        self._position = 0  # index of the next sample, which may be outside the clip

    @property
    def samples(self) -> np.ndarray:
        """float32 (T, rate)."""
        return self._flat.reshape(-1, self._rate)

    @property
    def is_empty(self) -> bool:
        """Whether no frame has been added."""
        return self._resampler is None

    def add(self, frame: AudioFrame, time: float) -> None:
        """Mix a frame to one channel, resample it, and place it at ``time``, in seconds of the file."""
        import av

        kind = (frame.sample_rate, frame.layout.name, frame.format.name)
        if self._resampler is None or kind != self._kind or abs(time - self._expected) > _LONGEST_DRIFT:
            self._kind = kind
            self._resampler = av.AudioResampler(format="flt", layout="mono", rate=self._rate)
            self._position = round((time - self._start) * self._rate)
        self._expected = time + frame.samples / frame.sample_rate
        frame.pts = None  # positions are counted here, not by the resampler
        self._put(self._resampler.resample(frame))

    def flush(self) -> None:
        """Place the samples that the resampler still holds."""
        if self._resampler is not None:
            self._put(self._resampler.resample(None))

    def _put(self, parts: Sequence[AudioFrame]) -> None:
        """Copy the samples that are in the clip, and advance the position by all of them."""
        for part in parts:
            samples = part.to_ndarray().ravel()
            stop = self._position + len(samples)
            first, last = max(self._position, 0), min(stop, len(self._flat))
            if first < last:
                self._flat[first:last] = samples[first - self._position : last - self._position]
            self._position = stop


@dataclass(frozen=True)
class _OpenClip:
    """A clip whose file is open.

    Args:
        clip: what to read.
        container: the open file.
        pictures: its first stream of pictures.
        zero: time of the first picture by the container's clock, in seconds; all times here count from it.
    """

    clip: Clip
    container: InputContainer
    pictures: VideoStream
    zero: float

    def sound(self) -> AudioStream | None:
        """Return the first stream of sound that can be decoded."""
        # Phones also write tracks that only their maker's software can decode, such as Apple's spatial sound.
        # These have no codec context, though PyAV's types say otherwise.
        streams = self.container.streams.audio
        return next((found for found in streams if found.codec_context is not None), None)  # type: ignore[redundant-expr]

    def stated_duration(self) -> float | None:
        """Return the duration that the file states, in seconds."""
        if self.pictures.duration:
            return float(self.pictures.duration * (self.pictures.time_base or 0))
        return self.container.duration / 1_000_000 if self.container.duration else None

    def seek(self) -> None:
        """Jump to the key frame before the clip, if that saves reading."""
        import av

        if self.clip.start > 1:
            with contextlib.suppress(av.FFmpegError):  # a file without an index is read from its beginning
                self.container.seek(int((self.clip.start + self.zero) * 1_000_000), backward=True)


@contextlib.contextmanager
def _opened(clip: Clip) -> Iterator[_OpenClip]:
    """Open the file of a clip and find its pictures.

    Raises:
        AlstmError: the file is missing, is not a video, or has no pictures.
    """
    require_file(clip.path, "check the path")
    with _open_container(clip.path) as container:
        stream = _picture_stream(clip.path, container)
        yield _OpenClip(clip, container, stream, float((stream.start_time or 0) * (stream.time_base or 0)))


def _open_container(path: Path) -> InputContainer:
    import av

    try:
        return av.open(str(path.absolute()), metadata_errors="ignore")
    except (av.FFmpegError, ValueError, OSError) as error:
        problem = f"it cannot be opened as a video ({getattr(error, 'strerror', None) or error})"
        raise AlstmError(path, problem, _REMEDY) from None


def _picture_stream(path: Path, container: InputContainer) -> VideoStream:
    if container.format.name in _PLAYLISTS:  # it would have other files read
        raise AlstmError(path, "it is a playlist, not a video", "pass the video files themselves")
    streams = [stream for stream in container.streams.video if not stream.disposition & _COVER]
    if not streams:
        problem = "it has no pictures, only sound" if container.streams.audio else "it has no pictures"
        raise AlstmError(path, problem, "AttentionLSTM needs both; pass a file with a video track")
    return streams[0]


FrameT = TypeVar("FrameT", bound="Frame")
FrameT_co = TypeVar("FrameT_co", bound="Frame", covariant=True)


class _Stream(Protocol[FrameT_co]):
    """The part of PyAV's streams that :class:`_Decoder` uses."""

    @property
    def type(self) -> str: ...

    def decode(self, packet: Packet | None = None) -> Sequence[FrameT_co]: ...


class _Decoder(Generic[FrameT]):
    """The frames of a stream with their times in seconds; damaged packets are counted and skipped.

    Args:
        media: the open clip.
        stream: one of its streams.
    """

    def __init__(self, media: _OpenClip, stream: _Stream[FrameT]) -> None:
        self._media, self._stream = media, stream
        self._kind = stream.type  # read now: PyAV crashes when asked after the file is closed
        self._damaged = 0

    def __iter__(self) -> Iterator[tuple[FrameT, float]]:
        time = 0.0
        for packet in self._packets():
            for frame in self._decode(packet):
                self._damaged += bool(frame.is_corrupt)  # shown all the same
                time = time + 0.04 if frame.time is None else frame.time - self._media.zero
                yield frame, time

    def notes(self) -> list[str]:
        """Return a note on the damage met so far, if any."""
        return [f"{self._damaged} damaged pieces of its {self._kind}"] if self._damaged else []

    def _packets(self) -> Iterator[Packet]:
        """Yield packets up to the end of the file, or to where it cannot be read any more."""
        import av

        with contextlib.suppress(av.FFmpegError):  # the caller compares the times with the stated duration
            yield from self._media.container.demux(self._stream)

    def _decode(self, packet: Packet) -> Sequence[FrameT]:
        import av

        try:
            return self._stream.decode(packet)
        except av.FFmpegError:
            self._damaged += 1
            return ()


def _duration(frame: VideoFrame, stream: VideoStream) -> float:
    """Return for how many seconds a picture is shown."""
    if frame.duration:
        return float(frame.duration * (frame.time_base or 0))
    return float(1 / stream.average_rate) if stream.average_rate else 0.04


def _square(frame: VideoFrame, stream: VideoStream, size: int) -> np.ndarray:
    """Return a picture as a viewer sees it, uint8 (size, size, 3): pixels made square, upright, its middle cut out."""
    width, height = frame.width * float(stream.sample_aspect_ratio or 1), frame.height
    scale = size / min(width, height)
    scaled_width, scaled_height = max(size, round(width * scale)), max(size, round(height * scale))
    scaled = frame.reformat(scaled_width, scaled_height, format="rgb24", interpolation="AREA")
    image = np.rot90(scaled.to_ndarray(), round(frame.rotation / 90))  # both count counter-clockwise
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return np.ascontiguousarray(image[top : top + size, left : left + size])
