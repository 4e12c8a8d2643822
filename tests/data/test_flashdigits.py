"""FlashDigits: reproducible, in YouTube-8M's format, and true to its events."""

from __future__ import annotations

import csv
import hashlib
import json
import struct
import sys
from dataclasses import replace

import numpy as np
import pytest
from support import default_of

from alstm_helpers.commands import data as commands
from alstm_helpers.data import flashdigits
from alstm_helpers.data.filelists import read_filelist
from alstm_helpers.data.flashdigits import (
    CLASS_NAMES,
    MadeData,
    Settings,
    extract_audio,
    extract_rgb,
    make_data,
    make_video,
    render,
    scene_of,
    video_id,
)
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import claimed
from alstm_helpers.pickles import load_videos
from alstm_helpers.tfrecord import read_videos

# ITU-T Recommendation Q.23, the keys 0 to 9: frequencies in Hz.
KEYS: dict[tuple[int, ...], int] = {
    (941, 1336): 0,
    (697, 1209): 1,
    (697, 1336): 2,
    (697, 1477): 3,
    (770, 1209): 4,
    (770, 1336): 5,
    (770, 1477): 6,
    (852, 1209): 7,
    (852, 1336): 8,
    (852, 1477): 9,
}


SMALL = Settings(train=6, val=4, shards=2)


def small(root, **changed):
    return make_data(root, replace(SMALL, **changed), workers=1)


def hashes(root):
    paths = [path for path in root.rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.fixture(scope="module")
def clips():
    return [render(0, "train", index) for index in range(120)]


# --- files ------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        assert small(tmp_path / name, seed=3) == MadeData(made=4, skipped=0, videos=10)
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")
    assert sorted(hashes(tmp_path / "one")) == [
        "flashdigits.json",
        "labels.csv",
        "labels.csv.sha256",
        "tf/train.shards.jsonl",
        "tf/train.shards.jsonl.crc32c",
        "tf/train/train0000.tfrecord",
        "tf/train/train0001.tfrecord",
        "tf/val.shards.jsonl",
        "tf/val.shards.jsonl.crc32c",
        "tf/val/validate0000.tfrecord",
        "tf/val/validate0001.tfrecord",
    ]


def test_another_seed_gives_other_videos(tmp_path):
    small(tmp_path / "one", seed=3)
    small(tmp_path / "two", seed=4)
    one, two = hashes(tmp_path / "one"), hashes(tmp_path / "two")
    same = {name for name in one if one[name] == two[name] and "shards.jsonl" not in name}  # videos of as many seconds
    assert same == {"labels.csv", "labels.csv.sha256"}


def test_the_recipe_has_not_changed_unnoticed():
    """Whole-number products and roots give the same bytes everywhere; raise RECIPE and renew this when they change."""
    frames = make_video(0, "train", 0).rgb
    digest = hashlib.sha256(frames.tobytes()).hexdigest()
    recipes = {1: "49b7943e9600755af3532fed5b6f99368f4150129711e16e06aa66b9e27df1f2"}
    assert recipes[flashdigits.RECIPE] == digest
    _, mean, scale = flashdigits._projection()
    assert (mean.sum(), scale.min()) == (125_390, 1) and scale.sum() == pytest.approx(95_242.10246)


def test_shards_hold_the_videos_in_order(tiny_data):
    for split, prefix, count in (("train", "t", 60), ("val", "v", 20)):
        shards = sorted((tiny_data / "tf" / split).iterdir())
        videos = [list(read_videos(shard)) for shard in shards]
        assert [len(shard) for shard in videos] == [count // 2] * 2
        ids = [video.id.decode() for shard in videos for video in shard]
        assert ids == [f"{prefix}{index:03x}" for index in range(count)]


def test_the_number_of_shards_does_not_change_the_videos(tmp_path):
    small(tmp_path, shards=3, train=7)
    videos = [video for path in sorted((tmp_path / "tf/train").iterdir()) for video in read_videos(path)]
    assert [video.id for video in videos] == [video_id("train", index) for index in range(7)]
    expected = make_video(0, "train", 6)
    assert np.array_equal(videos[6].rgb, expected.rgb) and np.array_equal(videos[6].audio, expected.audio)


def test_a_rerun_makes_only_what_is_missing(tmp_path):
    small(tmp_path)
    before, written = hashes(tmp_path), (tmp_path / "labels.csv").stat().st_mtime_ns
    assert small(tmp_path) == MadeData(made=0, skipped=4, videos=10)
    assert (tmp_path / "labels.csv").stat().st_mtime_ns == written
    (tmp_path / "tf/val/validate0001.tfrecord").unlink()
    done = small(tmp_path)
    assert done == MadeData(made=1, skipped=3, videos=10)
    assert done.summary() == "made 1 shards, 3 skipped, 10 videos in all"
    assert hashes(tmp_path) == before


@pytest.mark.parametrize("changed", [{"seed": 1}, {"train": 7}, {"val": 5}, {"shards": 1}])
def test_two_data_sets_in_one_folder_are_refused(tmp_path, changed):
    small(tmp_path)
    before = hashes(tmp_path)
    with pytest.raises(AlstmError, match="choose another DIR, or delete this one"):
        small(tmp_path, **changed)
    assert hashes(tmp_path) == before


def test_an_older_recipe_and_damaged_settings_are_refused(tmp_path):
    small(tmp_path)
    path = tmp_path / "flashdigits.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    del settings["digest"]
    older, damaged = json.dumps(settings | {"recipe": 0}), '{"seed": '
    for text, message in ((older, "the folder holds"), (damaged, "not readable .*; delete this folder")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(AlstmError, match=message):
            small(tmp_path)


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        *(({"train": 0}, "--train"), ({"val": -1}, "--val"), ({"shards": 0}, "--shards"), ({"seed": -1}, "--seed")),
        *(({"train": 10**7 + 1}, "--train"), ({"val": 10**20}, "--val"), ({"seed": 2**63 + 1}, "--seed")),
    ],
)
def test_numbers_out_of_range(tmp_path, changed, where):
    with pytest.raises(AlstmError, match=rf"{where}: .* is out of range; pass [01] to \d+"):
        small(tmp_path, **changed)
    assert not list(tmp_path.iterdir())


def test_more_shards_than_videos(tmp_path):
    with pytest.raises(AlstmError, match="--shards: 5 shards cannot be filled; pass 4 or fewer"):
        small(tmp_path, shards=5)


def test_the_smallest_data_set_and_the_usual_one(tmp_path):
    assert make_data(tmp_path, Settings(1, 1, 1, 0), workers=1) == MadeData(made=2, skipped=0, videos=2)
    for name in ("train", "val", "shards", "seed"):
        assert getattr(Settings(), name) == default_of(commands.make_data, f"--{name}")


def test_what_a_killed_run_left_beside_a_finished_data_set_is_removed(tmp_path):
    small(tmp_path)
    for folder in ("", "tf/train", "tf/val"):
        (tmp_path / folder / ".x.alstm.tmp").touch()
    assert small(tmp_path) == MadeData(made=0, skipped=4, videos=10)
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("folder", ["", "tf/train", "tf/val"])
def test_a_folder_that_another_run_writes_to_is_left_alone(tmp_path, folder):
    with claimed(tmp_path / folder), pytest.raises(AlstmError, match="another run is writing here"):
        small(tmp_path)
    assert not list(tmp_path.rglob("*.tfrecord"))


def test_labels_csv(tiny_data):
    with (tiny_data / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["index", "name"]
    names = [f"{verb} {digit}" for verb in ("see", "hear") for digit in range(10)]
    assert rows[1:] == [[str(index), name] for index, name in enumerate(names)]
    assert list(CLASS_NAMES) == names


def test_progress_sees_every_shard(tmp_path):
    seen = []

    def progress(items, **_):
        for item in items:
            seen.append(item)
            yield item

    make_data(tmp_path, SMALL, workers=1, progress=progress)
    assert len(seen) == 4


# --- the format, read by a parser that shares nothing with the package ------------------------------------------


def varint(data, place):
    value = shift = 0
    while data[place] & 0x80:
        value |= (data[place] & 0x7F) << shift
        place, shift = place + 1, shift + 7
    return value | data[place] << shift, place + 1


def fields(data):
    """The length-delimited fields of a protobuf message as (number, content)."""
    place = 0
    while place < len(data):
        tag, place = varint(data, place)
        assert tag & 7 == 2
        length, place = varint(data, place)
        yield tag >> 3, data[place : place + length]
        place += length
    assert place == len(data)


def one(data, number):
    (found,) = [content for key, content in fields(data) if key == number]
    return found


def mapping(data):
    """A protobuf map: entries in field 1, each with a key in 1 and a value in 2."""
    return {one(entry, 1).decode(): one(entry, 2) for _, entry in fields(data)}


def parse(payload):
    """id, labels, rgb, audio of a ``tf.train.SequenceExample``, by the field numbers of example.proto."""
    context = mapping(one(payload, 1))
    lists = mapping(one(payload, 2))
    packed = one(one(context["labels"], 3), 1)  # Feature.int64_list, Int64List.value
    labels, place = [], 0
    while place < len(packed):
        label, place = varint(packed, place)
        labels.append(label)
    video = one(one(context["id"], 1), 1)  # Feature.bytes_list, BytesList.value
    streams = []
    for name in ("rgb", "audio"):
        frames = [one(one(feature, 1), 1) for number, feature in fields(lists[name]) if number == 1]
        streams.append(np.array([list(frame) for frame in frames], dtype=np.uint8))
    return video, tuple(labels), *streams


def payloads(content):
    place = 0
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        yield content[place + 12 : place + 12 + length]
        place += 16 + length
    assert place == len(content)


def test_the_records_are_sequence_examples(tiny_data):
    content = (tiny_data / "tf/val/validate0000.tfrecord").read_bytes()
    parsed = [parse(payload) for payload in payloads(content)]
    pickled = load_videos(tiny_data / "pkl/val/validate0000.pkl")
    assert len(parsed) == len(pickled) == 10
    for (video, labels, rgb, audio), other in zip(parsed, pickled, strict=True):
        assert (video, labels) == (other.id, other.labels)
        assert rgb.shape[1:] == (1024,) and audio.shape[1:] == (128,)
        assert np.array_equal(rgb, other.rgb) and np.array_equal(audio, other.audio)


# --- what happens in a video ------------------------------------------------------------------------------------


def test_lengths_and_labels(clips):
    lengths = [len(clip.frames) for clip in clips]
    assert 20 <= min(lengths) < 25 and 55 < max(lengths) <= 60
    counts = [len(clip.events) for clip in clips]
    assert min(counts) >= 1 and max(counts) <= 5
    assert sum(counts) == 344  # 2.9 per video; YouTube-8M has 3.0
    assert sum(event.start for clip in clips for event in clip.events) == 6734
    assert {event.label for clip in clips for event in clip.events} == set(range(20))
    for clip in clips:
        assert clip.frames.shape[1:] == (8, 8) and clip.frames.dtype == np.uint8 and clip.frames.max() <= 16
        assert clip.sound.shape == (len(clip.frames), 4000) and clip.sound.dtype == np.float32


def test_events_are_within_the_video_and_do_not_mask_each_other(clips):
    for clip in clips:
        for event in clip.events:
            assert 0 <= event.start < event.stop <= len(clip.frames) and event.stop - event.start in (1, 2)
        for kind in (0, 1):
            seconds = [
                second
                for event in clip.events
                if event.label // 10 == kind
                for second in range(event.start, event.stop)
            ]
            assert len(seconds) == len(set(seconds))


def test_the_labels_are_the_events(tiny_data):
    for video in load_videos(read_filelist(tiny_data / "train.list")[0]):
        clip = scene_of(video.id, seed=0)
        assert video.labels == tuple(sorted({event.label for event in clip.events}))
        assert video.num_frames == len(clip.frames)
        assert np.array_equal(video.rgb, extract_rgb(clip.frames))
        assert np.array_equal(video.audio, extract_audio(clip.sound))


def test_keys_sound_exactly_where_the_events_say(clips):
    tones = sorted({frequency for pair in KEYS for frequency in pair})
    alone = 0
    for clip in clips[:40]:
        keys = [event for event in clip.events if event.label >= 10]
        heard = {second: event.label - 10 for event in keys for second in range(event.start, event.stop)}
        strength = np.abs(np.fft.rfft(clip.sound, axis=1))[:, tones]  # 1 Hz per bin; a tone gives 2000, noise about 60
        for second, row in enumerate(strength):
            sounding = tuple(tone for tone, value in zip(tones, row, strict=True) if value > 1000)
            assert KEYS.get(sounding) == heard.get(second)
            assert len(sounding) == 2 if second in heard else len(sounding) < 2
            alone += len(sounding) == 1
    assert alone > 100  # half keys are there to mislead


@pytest.fixture
def without_noise(monkeypatch):
    monkeypatch.setattr(flashdigits, "PIXEL_NOISE", 0)


def digits_of(split, count):
    """The images shown in the events of a split's first videos, as bytes, with their classes."""
    for index in range(count):
        clip = render(0, split, index)
        for event in clip.events:
            if event.label < 10:
                shown = clip.frames[event.start : event.stop]
                assert (shown == shown[0]).all()
                yield shown[0].tobytes(), event.label


def test_the_digits_are_read_without_scikit_learns_loader(monkeypatch):
    """It is slow to import, and still there in case the file moves."""
    with monkeypatch.context() as here:
        here.setitem(sys.modules, "sklearn.datasets", None)  # an import raises
        images, targets = flashdigits._digits.__wrapped__()
    monkeypatch.setattr(flashdigits, "find_spec", lambda name: None)
    loaded, of_loader = flashdigits._digits.__wrapped__()
    assert images.shape == (1797, 8, 8) and images.dtype == loaded.dtype == np.int64
    assert np.array_equal(images, loaded) and np.array_equal(targets, of_loader)


def test_digits_are_shown_where_the_events_say(without_noise):
    images, targets = flashdigits._digits()
    truth = {image.astype(np.uint8).tobytes(): int(target) for image, target in zip(images, targets, strict=True)}
    found = list(digits_of("train", 30)) + list(digits_of("val", 30))
    assert len(found) > 50 and all(truth[image] == label for image, label in found)
    for index in range(30):  # and nowhere else
        clip = render(0, "train", index)
        shown = {second for second, frame in enumerate(clip.frames) if frame.tobytes() in truth}
        assert shown == {s for event in clip.events if event.label < 10 for s in range(event.start, event.stop)}


def test_no_handwriting_of_the_validation_videos_is_trained_on(without_noise):
    train, val = ({image for image, _ in digits_of(split, 150)} for split in ("train", "val"))
    assert len(train) > 100 and len(val) > 100 and not train & val
    pools = [set(flashdigits._image_pool(split)[0]) for split in ("train", "val")]
    assert not pools[0] & pools[1] and len(pools[0] | pools[1]) == 1797


def test_noise_is_added_to_every_frame(monkeypatch):
    noisy = render(0, "train", 0).frames.astype(int)
    monkeypatch.setattr(flashdigits, "PIXEL_NOISE", 0)
    difference = noisy - render(0, "train", 0).frames
    assert np.abs(difference).max() == 2 and (difference != 0).any(axis=(1, 2)).all()


def test_the_sound_has_not_changed_unnoticed():
    """To one step of a byte, as sines and logarithms differ from machine to machine."""
    audio = make_video(0, "train", 0).audio.astype(int)
    seconds = [[99, 103, 103, 106, 91, 81, 110, 97], [103, 83, 78, 105, 102, 234, 82, 113]]
    assert abs(audio[[9, 27], ::16] - seconds).max() <= 1  # of noise, and of one tone
    assert abs(audio.sum() - 682523) < 100


def test_sound_with_more_samples_per_second_has_the_same_features():
    """Tones of 1209 Hz and 697 Hz, which both rates hold."""

    def tones(rate):
        time = np.arange(rate) / rate
        return (np.sin(2 * np.pi * 1209 * time) + 0.1 * np.sin(2 * np.pi * 697 * time)).astype(np.float32)[None]

    slow, fast = extract_audio(tones(4000)).astype(int), extract_audio(tones(16000)).astype(int)
    assert slow.argmax() == fast.argmax() == 1208 // 15
    assert abs(slow[0, [1208 // 15, 696 // 15]] - fast[0, [1208 // 15, 696 // 15]]).max() <= 1


def test_seed_split_and_index_each_matter():
    clips = [render(*key) for key in ((0, "train", 0), (1, "train", 0), (0, "val", 0), (0, "train", 1))]
    assert len({clip.sound.tobytes() for clip in clips}) == 4
    assert render(0, "train", 0).sound.tobytes() == clips[0].sound.tobytes()


# --- ids and features -------------------------------------------------------------------------------------------


def test_ids_are_unique_and_lead_back():
    ids = [video_id(split, index) for split in ("train", "val") for index in range(3000)]
    assert len(set(ids)) == 6000 and all(len(id) == 4 for id in ids)
    assert scene_of(b"v00a", seed=5).sound.tobytes() == render(5, "val", 10).sound.tobytes()
    for odd in (b"train_x", b"t-5", b"t00g", b"v"):
        with pytest.raises(AlstmError, match="not the id of a FlashDigits video"):
            scene_of(odd, seed=5)
    with pytest.raises(AlstmError, match="not the id of a FlashDigits video"):
        scene_of(b"SjJ3", seed=0)


@pytest.mark.parametrize(("extract", "part", "size"), [(extract_rgb, "frames", 1024), (extract_audio, "sound", 128)])
def test_features_are_a_pure_function_of_each_second(extract, part, size):
    data = getattr(render(0, "train", 2), part)
    before = data.copy()
    features = extract(data)
    assert features.dtype == np.uint8 and features.shape == (len(data), size)
    assert np.array_equal(data, before)  # the input is left alone
    assert np.array_equal(features, extract(data))
    assert np.array_equal(features[::-1], extract(data[::-1]))
    assert np.array_equal(features[7:8], extract(data[7:8]))


def test_features_use_the_range_of_a_byte(tiny_data):
    videos = load_videos(read_filelist(tiny_data / "train.list")[0])
    for name in ("rgb", "audio"):
        values = np.concatenate([getattr(video, name) for video in videos])
        assert 90 < values.mean() < 165 and 10 < values.std() < 60
        assert ((values == 0) | (values == 255)).mean() < 0.1  # not much is clipped


def test_what_a_kill_left_beside_the_counts_goes_and_lost_counts_come_back(tmp_path):
    """A kill after the last shard: the counts lie in a folder of their own, above those of the shards."""
    settings = Settings(train=4, val=2, shards=2)
    make_data(tmp_path, settings, workers=1)
    whole = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "tf" / ".train.shards.jsonl.crc32c.x.alstm.tmp").touch()
    make_data(tmp_path, settings, workers=1)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == whole.keys()
    (tmp_path / "tf" / "val.shards.jsonl").unlink()
    (tmp_path / "tf" / "val.shards.jsonl.crc32c").unlink()
    make_data(tmp_path, settings, workers=1)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == whole
    counts = tmp_path / "tf" / "train.shards.jsonl"
    counts.write_bytes(counts.read_bytes().replace(b'"videos": 2', b'"videos": 9'))
    make_data(tmp_path, settings, workers=1)
    assert counts.read_bytes() == whole[counts]
