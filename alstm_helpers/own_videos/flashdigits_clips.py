"""FlashDigits as video files, for the chapter on your own videos and for tests."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, cast

import numpy as np

from alstm_helpers.data.flashdigits import SAMPLE_RATE, Scene, extract_audio, extract_rgb, render
from alstm_helpers.tfrecord import Video

if TYPE_CHECKING:
    from av import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.video.stream import VideoStream

# Sample rate of the sound in a video file, and the factor that it is turned down by. AAC keeps noise below 2 kHz better
# at higher rates: the audio features correlate with the generator's to 0.970 at 16 kHz and to 0.996 at 48 kHz.
FILE_RATE, FILE_LEVEL = 48_000, 8
READ_RATE = 16_000
NEW_CLASSES = ("cross", "siren")  # of own_clip; no model of the course knows them


@dataclass(frozen=True)
class Encoding:
    """How :func:`write_video` encodes; the container follows from the suffix of the path.

    Args:
        fps: frames per second in the file.
        codec, audio_codec: names that FFmpeg knows.
        options: of the picture codec; None is nearly lossless.
    """

    fps: int = 5
    codec: str = "libx264"
    audio_codec: str = "aac"
    options: Mapping[str, str] | None = None


# On pictures this small the threads of x264 wait for each other: one thread takes a third of the time. AAC's fast coder
# does, too; the features of the sound are as near to the generator's with it, and the files half as large.
SMALL_H264 = {"crf": "10", "preset": "veryfast", "threads": "1"}
FAST_AAC = {"aac_coder": "fast"}


def own_clip(seed: int, number: int) -> tuple[Scene, dict[str, int]]:
    """Render a clip that is in no split of FlashDigits, with up to two new things of two seconds each.

    In half of the clips a cross is in the picture, in half a siren is in the sound.

    Returns:
        the scene, and the second in which each new thing begins, such as ``{"cross": 12}``.
    """
    clip, rng = render(seed, "val", 1000 + number), np.random.default_rng([9, number])
    new: dict[str, int] = {}
    if rng.random() < 0.5:
        new["cross"] = at = int(rng.choice(_free_seconds(clip, 0)))
        cross = np.zeros((8, 8), np.int64)
        cross[3:5, :] = cross[:, 3:5] = 16
        clip.frames[at : at + 2] = np.clip(cross + rng.integers(-2, 3, (2, 8, 8)), 0, 16)
    if rng.random() < 0.5:
        new["siren"] = at = int(rng.choice(_free_seconds(clip, 1)))
        second = np.arange(SAMPLE_RATE) / SAMPLE_RATE  # the tone rises from 400 to 1200 Hz
        siren = 1.4 * np.sin(2 * np.pi * (400 * second + 400 * second**2))
        clip.sound[at : at + 2] += siren.astype(np.float32)
    return clip, new


def _free_seconds(clip: Scene, stream: int) -> list[int]:
    """Return where two seconds have no digit (stream 0) or no key (stream 1)."""
    busy = {s for event in clip.events if event.label // 10 == stream for s in range(event.start - 1, event.stop)}
    return [second for second in range(len(clip.frames) - 2) if second not in busy]


def own_video(seed: int, number: int) -> Video:
    """Make the features of an :func:`own_clip`, without a video file between; the labels index ``NEW_CLASSES``."""
    clip, new = own_clip(seed, number)
    labels = tuple(NEW_CLASSES.index(name) for name in new)
    return Video(f"x{number}".encode(), labels, extract_rgb(clip.frames), extract_audio(clip.sound))


def write_mp4(path: str | os.PathLike[str], scene: Scene) -> None:
    """Write a scene as a video file that any player plays: 128 × 128 pixels, five frames per second, sound at 48 kHz.

    The picture is H.264 and the sound AAC when the path ends in ``.mp4``.
    """
    from scipy.signal import resample

    grey = np.rint(scene.frames.astype(np.float32) * (255 / 16)).astype(np.uint8)  # (T, 8, 8)
    frames = np.kron(grey, np.ones((1, 16, 16), np.uint8))[..., None].repeat(3, axis=3)  # (T, 128, 128, 3)
    # Through the spectrum of the whole clip, so that nothing below 2 kHz is lost.
    sound = resample(scene.sound.ravel(), len(frames) * FILE_RATE).reshape(len(frames), FILE_RATE)
    write_video(path, frames, (sound / FILE_LEVEL).astype(np.float32))


def write_video(
    path: str | os.PathLike[str], frames: np.ndarray, sound: np.ndarray | None, encoding: Encoding = Encoding()
) -> None:
    """Encode pictures and sound, for the clips of the course and for tests.

    Args:
        path: of the file to write.
        frames: uint8 (T, h, w, 3), one per second; each is repeated ``encoding.fps`` times.
        sound: float32 (T, rate) between -1 and 1, at a rate that the codec takes (AAC: 8000 and above), or None for a
            file without a sound track.
        encoding: frame rate and codecs.
    """
    import av

    with av.open(os.fspath(path), "w") as container:
        pictures = _Pictures(container, encoding, *frames.shape[1:3])
        voice = None if sound is None else _Voice(container, encoding, sound.shape[1])
        for second, frame in enumerate(frames):
            pictures.write(frame)
            if voice is not None and sound is not None:
                voice.write(sound[second])
        pictures.finish()
        if voice is not None:
            voice.finish()


class _Pictures:
    """The stream of pictures of a file that is being written.

    Args:
        container: the file.
        encoding: frame rate and codec.
        height, width: in pixels.
    """

    def __init__(self, container: OutputContainer, encoding: Encoding, height: int, width: int) -> None:
        options = dict(encoding.options or SMALL_H264)
        self._container, self._fps = container, encoding.fps
        self._stream = cast("VideoStream", container.add_stream(encoding.codec, rate=encoding.fps, options=options))
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._count = 0

    def write(self, picture: np.ndarray) -> None:
        """Show a picture, uint8 (h, w, 3), for one second."""
        import av

        for _ in range(self._fps):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = self._count, Fraction(1, self._fps)
            self._container.mux(self._stream.encode(frame))
            self._count += 1

    def finish(self) -> None:
        """Write what the codec still holds."""
        self._container.mux(self._stream.encode(None))


class _Voice:
    """The stream of sound of a file that is being written, one channel.

    Args:
        container: the file.
        encoding: names the codec.
        rate: samples per second.
    """

    def __init__(self, container: OutputContainer, encoding: Encoding, rate: int) -> None:
        import av

        self._container, self._rate = container, rate
        options = FAST_AAC if encoding.audio_codec == "aac" else {}
        stream = container.add_stream(encoding.audio_codec, rate=rate, layout="mono", options=options)
        self._stream = cast("AudioStream", stream)
        self._stream.bit_rate = 64_000
        self._resampler = av.AudioResampler(format=self._stream.format.name, layout="mono", rate=rate)

    def write(self, samples: np.ndarray) -> None:
        """Append samples, float32 (N,)."""
        import av

        frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate = self._rate
        self._encode(self._resampler.resample(frame))

    def finish(self) -> None:
        """Write what the resampler and the codec still hold."""
        self._encode([*self._resampler.resample(None), None])

    def _encode(self, frames: Sequence[AudioFrame | None]) -> None:
        for frame in frames:
            self._container.mux(self._stream.encode(frame))


def shrink(frames: np.ndarray) -> np.ndarray:
    """Return pictures of a video file, uint8 (T, 64, 64, 3), as ``extract_rgb`` takes them: (T, 8, 8) of 0–16.

    They are rounded to sixteenths of a grey level, so that the products there are exact on every machine.
    """
    means = frames.astype(np.float32).mean(3).reshape(-1, 8, 8, 8, 8).mean((2, 4))  # of 8 × 8 pixels
    return np.asarray(np.rint(means * np.float32(256 / 255)) / 16, np.float32)
