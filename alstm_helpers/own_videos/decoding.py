"""Decode a stream of a video file from a second on, with the times that a player shows."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Generic, Protocol, TypeAlias, TypeVar

from alstm_helpers.own_videos.containers import OpenVideo

if TYPE_CHECKING:
    from av import Packet
    from av.frame import Frame

FrameT = TypeVar("FrameT", bound="Frame")
FrameT_co = TypeVar("FrameT_co", bound="Frame", covariant=True)
Choice: TypeAlias = Callable[["Iterator[Packet]"], "Iterator[Packet]"]
_TOLERANCE = 0.1  # seconds by which times may go backwards without a jump; FFmpeg's command allows as much
_LEAD = 0.5  # seconds of sound that are decoded before the start, since each piece needs those before it
_STEP_BACK = 2.0  # seconds that a seek goes back further, since sound may lie before the pictures that it belongs to
_MOST_HELD = 20_000  # packets; a file whose key frames are further apart than that is decoded from where they began
_MOST_UNREAD = 1 << 18  # bytes at the end of a file, for its index


class Late(Exception):
    """The first frame that was found comes after the second that was asked for."""


class Stream(Protocol[FrameT_co]):
    """The part of PyAV's streams that :class:`Decoder` uses."""

    @property
    def type(self) -> str: ...

    def decode(self, packet: Packet | None = None) -> Sequence[FrameT_co]: ...


class Clock:
    """Times that go on where those of a file jump, as when recordings are joined.

    A jump seen in one stream counts for the others, so that sound stays beside its pictures.

    Args:
        zero: second 0 of a player by the file's clock.
        longest_step: seconds; a longer step forwards is a jump, and so is every step backwards.
    """

    def __init__(self, zero: float, longest_step: float) -> None:
        self.jumps: list[float] = []  # the seconds at which they come
        self._longest_step = longest_step
        self._newest = -zero  # what is added to the file's times since its last jump
        self._added: dict[int, float] = {}  # by stream, as the next two
        self._last: dict[int, float] = {}
        self._end: dict[int, float] = {}

    @property
    def end(self) -> float:
        """The second at which the last stream ends, as far as it has been read."""
        return max(self._end.values(), default=0.0)

    def correct(self, packet: Packet) -> float | None:
        """Set the times of a packet to a player's, and return the second at which it is decoded, if it says so."""
        index, unit = packet.stream.index, float(packet.time_base or 1)
        added = self._added.setdefault(index, self._newest)
        if packet.dts is not None:  # times of showing go up and down
            added = self._added[index] = self._continue(index, packet.dts * unit)
            self._last[index] = packet.dts * unit + added
            self._end[index] = (packet.dts + (packet.duration or 0)) * unit + added
        shift = round(added / unit)
        packet.pts = None if packet.pts is None else packet.pts + shift
        packet.dts = None if packet.dts is None else packet.dts + shift
        time = packet.pts if packet.dts is None else packet.dts
        return None if time is None else time * unit

    def _continue(self, index: int, time: float) -> float:
        """Return what must be added to the time of a stream, so that it goes on from the one before."""
        for added in (self._added[index], self._newest):
            if self._goes_on(index, time + added):
                return added
        self.jumps.append(max(0.0, self._end[index]))
        self._newest = self._end[index] - time
        return self._newest

    def _goes_on(self, index: int, time: float) -> bool:
        last = self._last.get(index, time)
        if time <= last + self._longest_step:
            return last - _TOLERANCE <= time
        return any(abs(time - other) < self._longest_step for other in self._last.values())  # only this stream paused


class Decoder(Generic[FrameT]):
    """The frames of a stream, from the one that is shown at ``start`` on; damaged packets are counted and skipped.

    Args:
        video: the open file.
        stream: one of its streams.
        start: in seconds of a player.
        whole: decode from the beginning of the file, wherever the start is.
        choose: leaves out packets that are not needed; None for none.
    """

    def __init__(
        self, video: OpenVideo, stream: Stream[FrameT], start: float, *, whole: bool, choose: Choice | None = None
    ) -> None:
        self._video, self._stream, self._start, self._choose = video, stream, start, choose
        self._whole = whole or start <= 1 or not video.has_times
        self._kind = stream.type  # read now: PyAV crashes when asked after the file is closed
        self.clock = Clock(video.zero, video.longest_step)
        self._damaged = 0
        self._broken: list[str] = []

    def notes(self) -> list[str]:
        """Return notes on what was odd so far."""
        notes = [f"{self._damaged} damaged pieces of its {self._kind}"] if self._damaged else []
        if self.clock.jumps and self._kind == "video":
            times = "once" if len(self.clock.jumps) == 1 else f"{len(self.clock.jumps)} times"
            notes.append(f"its clock jumps {times}, first at {self.clock.jumps[0]:.0f} s; it is read on without a gap")
        return notes + self._broken

    def __iter__(self) -> Iterator[tuple[FrameT, float, float]]:
        """Yield frames, each with the seconds at which it begins and ends.

        Raises:
            Late: there is none at ``start``; decode the whole file.
        """
        end: float | None = None
        packets = self._from_start()
        for packet in self._choose(packets) if self._choose else packets:
            for frame in self._decode(packet):
                time = frame.time if self._video.has_times and frame.time is not None else end or 0.0
                if end is None and not self._whole and self._kind == "video" and time > self._start:
                    raise Late
                self._damaged += bool(frame.is_corrupt)  # shown all the same
                end = time + (float(frame.duration * (frame.time_base or 0)) or self._video.picture_seconds)
                yield frame, time, end

    def _decode(self, packet: Packet) -> Sequence[FrameT]:
        import av

        if not packet.size and packet.pts is not None:  # the picture before is shown once more
            return ()
        try:
            return self._stream.decode(packet)
        except av.FFmpegError:
            self._damaged += 1
            return ()

    def _from_start(self) -> Iterator[Packet]:
        """Yield the packets of the stream from its last key frame before the start on.

        Nothing before it is decoded. Where a format has no index, all packets are read, as a seek may end anywhere,
        above all in a file whose clock jumps.
        """
        packets = self._packets()
        if not self._whole:
            held: list[Packet] = []
            start = self._start - (_LEAD if self._kind == "audio" else 0)
            for packet, time in packets:
                shown = time if packet.pts is None else packet.pts * float(packet.time_base or 0)
                if packet.is_keyframe and shown is not None and shown <= start:
                    held.clear()
                held.append(packet)
                if (time is not None and time > start) or len(held) > _MOST_HELD:
                    break
            yield from held
        yield from (packet for packet, _ in packets)

    def _packets(self) -> Iterator[tuple[Packet, float | None]]:
        """Yield packets with the seconds at which they are decoded, up to where the file cannot be read any more."""
        sought = not self._whole and self._video.has_index and self._seek()
        for packet in self._demuxed():
            time = self.clock.correct(packet)
            if sought and time is not None and time > self._start:
                raise Late
            sought = False
            if packet.stream is self._stream:
                yield packet, time

    def _seek(self) -> bool:
        import av

        with contextlib.suppress(av.FFmpegError):
            second = max(0.0, self._start - _STEP_BACK)
            self._video.container.seek(int((second + self._video.zero) * 1_000_000), backward=True)
            return True
        return False

    def _demuxed(self) -> Iterator[Packet]:
        """Yield the packets of both streams; the other one is needed to see the clock jump."""
        import av

        container, read = self._video.container, 0
        streams = [stream for stream in (self._video.pictures, self._video.sound) if stream is not None]
        try:
            with contextlib.suppress(IndexError):  # PyAV stumbles at the end over streams that begin in mid-file
                for packet in container.demux(streams):
                    read = max(read, (packet.pos or 0) + packet.size)
                    yield packet
        except av.FFmpegError as error:
            self._broken.append(f"it cannot be read to its end ({error.strerror})")
        unread = container.size - read
        if read and unread > max(_MOST_UNREAD, container.size // 4):  # of some joined files FFmpeg reads only the first
            percent = 100 * unread // container.size
            self._broken.append(f"the last {percent} % of the file hold none of its pictures and sound")
