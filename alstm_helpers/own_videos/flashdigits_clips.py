"""FlashDigits as video files, for the chapter on your own videos and for tests."""

from __future__ import annotations

import os
from fractions import Fraction
from typing import Any

import numpy as np

from alstm_helpers.data.flashdigits import Scene

# Of the sound in a video file: samples a second (AAC keeps noise below 2 kHz the better, the more there are: the audio
# features' correlation with the generator's is 0.975 at 16 kHz and 0.997 at 48), and how far it is turned down.
FILE_RATE, FILE_LEVEL = 48_000, 8
READ_RATE = 16_000


def write_mp4(path: str | os.PathLike[str], scene: Scene) -> None:
    """Write a scene as a video file that any player plays: 128 × 128 pixels, five pictures a second, sound at 48 kHz.

    The picture is H.264 and the sound AAC when the path ends in ``.mp4``.
    """
    from scipy.signal import resample

    grey = np.rint(scene.frames.astype(np.float32) * (255 / 16)).astype(np.uint8)  # (T, 8, 8)
    frames = np.kron(grey, np.ones((1, 16, 16), np.uint8))[..., None].repeat(3, axis=3)  # (T, 128, 128, 3)
    # Through the spectrum of the whole clip, so that nothing below 2 kHz is lost.
    sound = resample(scene.sound.ravel(), len(frames) * FILE_RATE).reshape(len(frames), FILE_RATE)
    write_video(path, frames, (sound / FILE_LEVEL).astype(np.float32))


def write_video(
    path: str | os.PathLike[str],
    frames: np.ndarray,
    sound: np.ndarray | None,
    *,
    fps: int = 5,
    codec: str = "libx264",
    audio_codec: str = "aac",
    options: dict[str, str] | None = None,
) -> None:
    """Encode pictures and sound; the container follows from the suffix. For the course's own clips, and for tests.

    Args:
        path: of the file to write.
        frames: uint8 (T, h, w, 3), one a second; each is repeated ``fps`` times.
        sound: float32 (T, rate) between -1 and 1, of a rate that the codec takes (AAC: from 8000 on), or None for a
            file without a sound track.
        fps: pictures a second in the file.
        codec, audio_codec: names that FFmpeg knows.
        options: of the picture codec; by default nearly lossless.
    """
    import av

    seconds, height, width = frames.shape[:3]
    with av.open(os.fspath(path), "w") as container:
        pictures: Any = container.add_stream(codec, rate=fps, options=options or {"crf": "10", "preset": "veryfast"})
        pictures.width, pictures.height, pictures.pix_fmt = width, height, "yuv420p"
        voice: Any = None
        if sound is not None:
            rate = sound.shape[1]
            voice = container.add_stream(audio_codec, rate=rate, layout="mono")
            voice.bit_rate = 128_000
            resampler = av.AudioResampler(format=voice.format.name, layout="mono", rate=rate)
        for second in range(seconds):
            for number in range(fps):
                frame = av.VideoFrame.from_ndarray(frames[second], format="rgb24")
                frame.pts, frame.time_base = second * fps + number, Fraction(1, fps)
                container.mux(pictures.encode(frame))
            if sound is not None:
                part = av.AudioFrame.from_ndarray(sound[second][None], format="flt", layout="mono")
                part.sample_rate = sound.shape[1]
                for resampled in resampler.resample(part):
                    container.mux(voice.encode(resampled))
        container.mux(pictures.encode(None))
        if sound is not None:
            for resampled in resampler.resample(None):
                container.mux(voice.encode(resampled))
            container.mux(voice.encode(None))


def shrink(frames: np.ndarray) -> np.ndarray:
    """Pictures of a video file, uint8 (T, 64, 64, 3), as :func:`extract_rgb` takes them: (T, 8, 8) of 0–16.

    Rounded to sixteenths of a grey level, so that the products there stay exact on every machine.
    """
    means = frames.astype(np.float32).mean(3).reshape(-1, 8, 8, 8, 8).mean((2, 4))  # of 8 × 8 pixels
    return np.asarray(np.rint(means * np.float32(256 / 255)) / 16, np.float32)
