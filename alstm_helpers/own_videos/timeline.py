"""What a score over time is computed from: the seconds around each second, each stretch as a video of its own."""

from __future__ import annotations

from alstm_helpers.tfrecord import Video

WINDOW = 9  # seconds that a score over time is computed from, with the second in the middle
DRAWN_LABELS = 5  # in a timeline; lists of labels hold all that are asked for


def around_each_second(video: Video, window: int = WINDOW) -> list[Video]:
    """Return the ``window`` seconds around each of the T seconds of a video, fewer at its ends, as T videos."""
    half = window // 2
    stretches = (slice(max(0, second - half), second + half + 1) for second in range(video.num_frames))
    return [Video(video.id, (), video.rgb[stretch], video.audio[stretch]) for stretch in stretches]
