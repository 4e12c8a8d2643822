"""Open video files: which kinds are read, and which of their streams."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alstm_helpers.errors import AlstmError
from alstm_helpers.files import require_file

if TYPE_CHECKING:
    from av import VideoStream
    from av.audio.stream import AudioStream
    from av.container import InputContainer

# FFmpeg's names of the formats that are read. Others are refused once FFmpeg knows them by their beginning: playlists,
# which have other files opened or wait for more of them, devices, text and still pictures. Formats of sound alone are
# here so that the message can say so.
FORMATS = (
    *("mov", "matroska", "avi", "mpegts", "mpeg", "flv", "live_flv", "asf", "asf_o", "ogg", "mxf", "gxf", "dv", "wtv"),
    *("rm", "nut", "nsv", "nuv", "ivf", "swf", "amv", "dhav", "kux", "lmlm4", "pva", "ty", "vivo", "gif", "apng"),
    *("h261", "h263", "h264", "hevc", "vvc", "av1", "obu", "m4v", "mpegvideo", "vc1", "vc1test", "mjpeg", "cavsvideo"),
    *("avs2", "avs3", "dirac", "dnxhd", "yuv4mpegpipe", "mp3", "aac", "wav", "flac", "w64", "aiff"),
)
_BLACK = "ffmpeg -f lavfi -i color=s=64x64:r=1 -i FILE -shortest new.mp4"
CONVERT = "play it in a player; if that works, convert it: ffmpeg -i FILE -c:v libx264 -c:a aac new.mp4"
_OPTIONS = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}
_INDEXED = {"mov", "matroska", "avi"}  # formats whose index leads to the right second; the clocks of others may jump
_STILL = {"avif", "heic", "heix", "mif1"}  # brands of pictures that are stored as if they were MP4
_PADDING = 1024  # bytes that may follow them
_ENDS = {"gif": b";", "apng": b"IEND\xaeB`\x82"}  # the last bytes of formats that do not say how long they are
_NO_VIDEO = 0x400 | 0x100000  # AV_DISPOSITION_ATTACHED_PIC, the cover of a song, and AV_DISPOSITION_STILL_IMAGE
_DEFAULT = 0x1  # AV_DISPOSITION_DEFAULT
_NO_TIMESTAMPS, _JUMPS = 0x80, 0x200  # AVFMT_NOTIMESTAMPS, AVFMT_TS_DISCONT


@dataclass(frozen=True)
class OpenVideo:
    """An open video file.

    Args:
        container: the file.
        pictures, sound: the streams that a player would choose; ``sound`` is None where there is none.
    """

    container: InputContainer
    pictures: VideoStream
    sound: AudioStream | None

    @property
    def zero(self) -> float:
        """Second 0 of a player, by the container's clock: the first picture or sound."""
        return (self.container.start_time or 0) / 1_000_000

    @property
    def stated_end(self) -> float | None:
        """The second at which the file says that it ends."""
        duration = (self.container.duration or 0) / 1_000_000
        # Matroska counts from the zero of its clock.
        return (duration - self.zero if "matroska" in self.container.format.name else duration) or None

    @property
    def is_cut_short(self) -> bool:
        """Whether the file ends before its last bytes, in a format that does not say how long it is."""
        last = _ENDS.get(self.container.format.name)
        if last is None:
            return False
        with Path(self.container.name).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _PADDING))
            return not file.read().rstrip(b"\0\r\n").endswith(last)

    @property
    def picture_seconds(self) -> float:
        """How long a picture is shown that says nothing about it."""
        return float(1 / (self.pictures.average_rate or 25))

    @property
    def has_index(self) -> bool:
        """Whether jumping to a second is quick and certain."""
        return self.container.format.name.split(",")[0] in _INDEXED

    @property
    def has_times(self) -> bool:
        """Whether pictures carry times; a bare stream of pictures has a rate at most."""
        return not self.container.format.flags & _NO_TIMESTAMPS

    @property
    def longest_step(self) -> float:
        """Seconds that one picture may stay before it means that the clock has jumped; players wait as long."""
        return 10.0 if self.container.format.flags & _JUMPS else 3600.0


@contextlib.contextmanager
def open_video(path: Path) -> Iterator[OpenVideo]:
    """Open a file and choose its streams; no other file is read.

    Raises:
        AlstmError: the file is missing, is not a video, has no pictures, or FFmpeg fails while it is being read.
    """
    import av

    require_file(path, "check the path")
    with _open(path) as container:
        opened = OpenVideo(container, _choose_pictures(path, container), None)
        try:
            yield OpenVideo(container, opened.pictures, _choose_sound(container, opened.pictures))
        except av.FFmpegError as error:
            raise AlstmError(path, f"it cannot be read as a video ({error.strerror})", CONVERT) from None


def _open(path: Path) -> InputContainer:
    import av

    try:
        return av.open(str(path.absolute()), container_options=_OPTIONS, metadata_errors="ignore")
    except (av.FFmpegError, ValueError, OSError) as error:
        if isinstance(error, av.ArgumentError):  # what FFmpeg says of a format that is not allowed
            problem = "it is a playlist, a picture, text or of another kind that is not a video"
            raise AlstmError(path, problem, "pass the video files themselves") from None
        problem = f"it cannot be opened as a video ({getattr(error, 'strerror', None) or error})"
        raise AlstmError(path, problem, CONVERT) from None


def _choose_pictures(path: Path, container: InputContainer) -> VideoStream:
    """Return the stream that FFmpeg's command takes: the default one, or else the one with most pixels."""
    if container.metadata.get("major_brand") in _STILL:
        raise AlstmError(path, "it is a picture, not a video", "pass a video file")
    streams = [stream for stream in container.streams.video if not stream.disposition & _NO_VIDEO]
    if not streams:
        problem = "it has no pictures, only sound" if container.streams.audio else "it has no pictures"
        raise AlstmError(path, problem, f"AttentionLSTM needs both; give it black ones: {_BLACK}")
    # A stream of an unknown codec has no codec context, though PyAV's types say otherwise; decoding it would crash.
    known = [stream for stream in streams if stream.codec_context is not None]  # type: ignore[redundant-expr]
    if not known:
        raise AlstmError(path, "FFmpeg cannot decode the format of its pictures", CONVERT)
    return max(known, key=lambda stream: (stream.disposition & _DEFAULT, stream.width * stream.height))


def _choose_sound(container: InputContainer, pictures: VideoStream) -> AudioStream | None:
    """Return the sound that belongs to the pictures: of their programme, the default one, that with most channels."""
    best = container.streams.best("audio", related=pictures)
    # Phones also write tracks that only their maker's software can decode, such as Apple's spatial sound.
    streams = [found for found in container.streams.audio if found.codec_context is not None]  # type: ignore[redundant-expr]
    if best in streams:
        return streams[streams.index(best)]
    return max(streams, key=lambda found: (found.disposition & _DEFAULT, found.channels), default=None)
