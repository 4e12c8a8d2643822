"""What a score over time is computed from: the seconds around each second, each stretch as a video of its own."""

from __future__ import annotations

from alstm_helpers.tfrecord import Video

WINDOW = 9  # seconds that a score over time is computed from at most, with the second in the middle
DRAWN_LABELS = 5  # in a timeline; lists of labels hold all that are asked for


def window_of(seconds: int) -> int:
    """Return how many seconds a score over time is computed from: an odd number, at most half of a video with so many.

    In a video shorter than the window every stretch would be nearly all of it, and the curve a flat line.
    """
    return min(WINDOW, max(1, (seconds // 2 - 1) | 1))


def around_each_second(video: Video, window: int) -> list[Video]:
    """Return the ``window`` seconds around each of the T seconds of a video, fewer at its ends, as T videos."""
    half = window // 2
    stretches = (slice(max(0, second - half), second + half + 1) for second in range(video.num_frames))
    return [Video(video.id, (), video.rgb[stretch], video.audio[stretch]) for stretch in stretches]
