"""Read video files as a network takes them: one picture per second, and one second of sound beside it.

::

    clip.mp4 ─ PyAV ─┬ read_frames → uint8 (S, S, 3), one per second    YouTube-8M samples the same way: 1 Hz, and
                     └ read_sound → float32 (T, rate)                   at most 300 seconds (arXiv:1609.08675, §3)

What a player shows at a second is what is returned for it, or a note says why not. PyAV carries FFmpeg, so nearly every
video file is read: ``containers`` opens it, ``decoding`` finds the second, ``pictures`` makes a square of the picture.
Only the pictures that are needed are converted, one at a time, so memory does not grow with the length of a file.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.containers import CONVERT, OpenVideo, open_video
from alstm_helpers.own_videos.decoding import Decoder, Late
from alstm_helpers.own_videos.gops import needed
from alstm_helpers.own_videos.pictures import Fit, Squares

if TYPE_CHECKING:
    from av import AudioFrame, AudioResampler, VideoFrame

MAX_SECONDS = 300
BATCH = 32  # pictures that are in memory, and go through a network, at once
_LONGEST_DRIFT = 0.05  # seconds by which a piece of sound may miss the end of the one before without being a gap
_STANDSTILL = 10  # seconds that one picture may stay without a note


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
        fit: how the pictures become squares.

    Attributes:
        notes: one sentence for each oddity of the file, such as that it breaks off; complete after an iteration.
    """

    def __init__(self, clip: Clip, fit: Fit) -> None:
        self.clip, self.fit = clip, fit
        self.notes: list[str] = []

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield uint8 (S, S, 3) in red, green, blue: the picture shown in the middle of each second."""
        for whole in (False, True):
            self.notes = []
            with contextlib.suppress(Late), open_video(self.clip.path) as video:
                yield from self._seconds(video, whole=whole)
                return

    def _seconds(self, video: OpenVideo, *, whole: bool) -> Generator[np.ndarray, None, None]:
        """Yield the picture of each second."""
        squares, clip, count = Squares(video.pictures, self.fit), self.clip, 0
        with contextlib.closing(self._spans(video, whole=whole)) as spans:
            for frame, until in spans:
                while until > clip.middle(count):
                    if count and clip.middle(count) >= clip.limit:
                        self._note_the_rest(video)
                        return
                    yield self._square(squares, frame)
                    count += 1
            if not count:  # shorter than half a second
                yield self._square(squares, frame)

    def _spans(self, video: OpenVideo, *, whole: bool) -> Generator[tuple[VideoFrame, float], None, None]:
        """Yield each picture, and the time at which the next one replaces it or the file ends."""
        video.pictures.thread_type = "AUTO"
        if not video.has_times and not video.pictures.codec_context.framerate:
            self.notes.append("its pictures carry neither times nor a rate: 25 a second are assumed")
        choose = partial(needed, stream=video.pictures, start=self.clip.start, stop=self.clip.limit)
        decoder = Decoder(
            video, video.pictures, self.clip.start, whole=whole, choose=choose if video.has_times else None
        )
        shown, since, end = None, 0.0, 0.0
        longest = (0.0, 0.0, 0.0)  # how long a picture stays, since when, until when
        try:
            for frame, time, until in decoder:
                if shown is not None:
                    longest = max(longest, self._stay(since, time))
                    yield shown, time
                elif time > self.clip.start + 1:
                    self.notes.append(f"its first picture comes at {time:.0f} s and stands for what is before")
                shown, since, end = frame, time, until
        finally:
            self.notes += decoder.notes()
            if longest[0] > _STANDSTILL:  # slides, or a gap in the recording
                self.notes.append("one picture is shown from {1:.0f} to {2:.0f} s".format(*longest))
        if shown is None:
            raise AlstmError(self.clip.name, "no picture in it can be decoded", CONVERT)
        self._check_end(end, max(end, decoder.clock.end), None if decoder.clock.jumps else video.stated_end)
        if video.is_cut_short:
            self.notes.append(f"it is cut short after {end:.1f} s")
        yield shown, end

    def _square(self, squares: Squares, frame: VideoFrame) -> np.ndarray:
        try:
            return squares(frame)
        except ValueError as error:
            raise AlstmError(self.clip.name, str(error), "pass a clip of an ordinary shape") from None

    def _stay(self, since: float, until: float) -> tuple[float, float, float]:
        """Return how long a picture is shown in the clip, since when, and until when."""
        since, until = max(since, self.clip.start), min(until, self.clip.limit)
        return until - since, since, until

    def _note_the_rest(self, video: OpenVideo) -> None:
        """Note that a clip is longer than what is read of it."""
        clip = self.clip
        if clip.stop is None or clip.stop > clip.start + MAX_SECONDS + 0.5:
            seconds = min(clip.stop or math.inf, video.stated_end or math.inf) - clip.start
            of = f" of its {seconds:.0f}" if MAX_SECONDS < seconds < math.inf else ""
            self.notes.append(f"only the first {MAX_SECONDS}{of} seconds are used")

    def _check_end(self, end: float, end_of_all: float, stated: float | None) -> None:
        """Note pictures that end early; refuse a file whose pictures end before the clip starts."""
        clip = self.clip
        if end <= clip.start:
            notes = "".join(f"; {note}" for note in self.notes)
            raise AlstmError(clip.name, f"its pictures end after {end:.1f} s{notes}", "correct the times of the label")
        if stated and end_of_all < min(stated, clip.limit) - 1.5:
            self.notes.append(f"the file says {stated:.0f} s and breaks off after {end_of_all:.0f}")
        elif clip.stop is not None and end < clip.stop - 1:
            self.notes.append(f"the label ends at {clip.stop:g} s, the file at {end:.0f}")
        elif end < min(end_of_all, clip.limit) - 1.5:
            self.notes.append(f"its pictures end at {end:.0f} s, its sound at {end_of_all:.0f}")


def read_frames(clip: Clip, fit: Fit | int) -> Frames:
    """Return the picture shown in the middle of each second as a square.

    A picture is shown until the next one comes, so a variable frame rate needs no care. Rotation flags are followed,
    as players do. A second counts if its middle is in the clip; a clip has at least one second.

    Args:
        clip: what to read.
        fit: how pictures become squares; a number is the side to which the shorter one is scaled, and the longer cut.

    Returns:
        An iterable of uint8 (S, S, 3) in red, green, blue. After the iteration its ``notes`` tell whether the
        file is damaged, breaks off or is too long.

    Raises:
        AlstmError: on iteration, if the file cannot be opened or has no picture in the clip.
    """
    return Frames(clip, Fit(fit) if isinstance(fit, int) else fit)


def batches(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the pictures together, uint8 (N, S, S, 3), N at most ``BATCH``."""
    batch: list[np.ndarray] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == BATCH:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


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
    for whole in (False, True):
        with contextlib.suppress(Late), open_video(clip.path) as video:
            return _sound(video, clip.start, _Track(clip.start, seconds, rate), whole=whole)
    raise AssertionError("a whole file is never too late")


def _sound(video: OpenVideo, start: float, track: _Track, *, whole: bool) -> Sound:
    if video.sound is None:
        problem = "none of its sound can be decoded" if video.container.streams.audio else "no sound"
        return Sound(track.samples, [f"{problem}: silence takes its place"])
    decoder = Decoder(video, video.sound, start, whole=whole)
    for frame, time, _ in decoder:
        if time > track.stop:
            break
        track.add(frame, time)
    track.flush()
    missing = ["none of its sound can be decoded: silence takes its place"] if track.is_empty else []
    return Sound(track.samples, decoder.notes() + missing)


class _Track:
    """Samples of a clip, filled piece by piece; what no piece covers stays silent.

    Args:
        start: where the clip starts, in seconds of the file.
        seconds: how many there are, T.
        rate: samples per second.
    """

    def __init__(self, start: float, seconds: int, rate: int) -> None:
        self.stop = start + seconds
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
