"""The clips of notebook 09: what is new in them is where it is said to be, and covers no digit and no key."""

from __future__ import annotations

import numpy as np

from alstm_helpers.data.flashdigits import render
from alstm_helpers.own_videos.flashdigits_clips import NEW_CLASSES, own_clip, own_video


def test_a_cross_and_a_siren_are_in_their_two_seconds_alone():
    seen = set()
    for number in range(16):
        clip, new = own_clip(3, number)
        before = render(3, "val", 1000 + number)
        for name, stream in (("cross", 0), ("siren", 1)):
            pairs = zip((clip.frames, clip.sound)[stream], (before.frames, before.sound)[stream], strict=True)
            expected = [new[name], new[name] + 1] if name in new else []
            assert [second for second, (a, b) in enumerate(pairs) if not np.array_equal(a, b)] == expected
            events = [event for event in clip.events if event.label // 10 == stream]
            assert not [e for e in events for second in expected if e.start <= second < e.stop]
        seen.add(tuple(new))
    assert seen == {(), ("cross",), ("siren",), ("cross", "siren")}


def test_the_features_have_the_labels_of_the_clip():
    for number in range(4):
        video, (clip, new) = own_video(0, number), own_clip(0, number)
        assert [NEW_CLASSES[label] for label in video.labels] == list(new)
        assert video.rgb.shape == (len(clip.frames), 1024) and video.audio.shape == (len(clip.frames), 128)
