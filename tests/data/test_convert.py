"""Conversion: pickles equal their TFRecords, a rerun converts the missing ones, a bad shard does not affect others."""

from __future__ import annotations

import errno
import gc
import hashlib
import json
import logging
import os
import pickle
import signal
import time
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import pytest
from joblib import parallel_config
from support import a_video, default_of, equal, run_python

from alstm_helpers.commands import data as commands
from alstm_helpers.data import convert as conversion
from alstm_helpers.data.convert import ConvertOptions, convert
from alstm_helpers.errors import AlstmError, CorruptRecord, WrongShard
from alstm_helpers.pickles import load_videos
from alstm_helpers.tfrecord import read_videos, write_videos

FIELDS = ["shard", "videos", "frames", "bytes", "sha256", "seconds"]
needs_real_data = pytest.mark.skipif("ALSTM_REAL_DATA" not in os.environ, reason="needs ALSTM_REAL_DATA")


def counts(done):
    return done.converted, done.videos, done.frames, done.skipped, len(done.failed)


def without_seconds(row):
    return {key: value for key, value in row.items() if key != "seconds"}


def manifest(target):
    return [json.loads(line) for line in (target / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]


def hashes(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.pkl")}


@pytest.fixture
def source(tmp_path):
    """Shards of 2, 1 and 3 videos, one of them in a subfolder."""
    root = tmp_path / "tf 数据"
    for name, number in (("train0000", 2), ("train0001", 1), ("more/train0002", 3)):
        path = root / f"{name}.tfrecord"
        write_videos(path, [a_video(f"{path.stem[-1]}{index}", 2 + index, [index]) for index in range(number)])
    return root


@pytest.fixture
def target(tmp_path):
    return tmp_path / "pkl" / "train"


# --- what comes out ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_pickles_equal_their_records(source, target, workers):
    assert counts(convert(source, target, ConvertOptions(workers=workers))) == (3, 6, 16, 0, 0)
    for shard in source.rglob("*.tfrecord"):
        read = load_videos(target / f"{shard.stem}.pkl")
        records = list(read_videos(shard))
        assert len(read) == len(records) and all(map(equal, read, records))
    assert sorted(path.name for path in target.iterdir()) == [
        "manifest.jsonl",
        "manifest.jsonl.crc32c",
        "train0000.pkl",
        "train0001.pkl",
        "train0002.pkl",
    ]


def test_the_manifest_describes_the_pickles(source, target):
    convert(source, target, ConvertOptions(workers=1))
    rows = manifest(target)
    assert [list(row) for row in rows] == [FIELDS] * 3
    assert [row["shard"] for row in rows] == [f"train000{n}.tfrecord" for n in range(3)]
    assert [(row["videos"], row["frames"]) for row in rows] == [(2, 5), (1, 2), (3, 9)]
    for row in rows:
        content = (target / row["shard"].replace(".tfrecord", ".pkl")).read_bytes()
        assert (row["bytes"], row["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert row["seconds"] >= 0


def test_the_manifest_has_seconds_to_the_millisecond(source, target, monkeypatch):
    clock = iter([10.0, 11.23456])
    monkeypatch.setattr(conversion, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    row = conversion.convert_shard(source / "train0000.tfrecord", target / "a.pkl")
    assert not isinstance(row, AlstmError) and row["seconds"] == 1.235


def test_what_is_done_unless_said_otherwise():
    assert ConvertOptions().workers == default_of(commands.convert, "--workers") == -1
    assert ConvertOptions().keys == default_of(commands.convert, "--keys") == "str"


def test_the_summary_line(source, target):
    convert(source / "train0000.tfrecord", target, ConvertOptions(workers=1))
    done = convert(source, target, ConvertOptions(workers=1))
    assert done.summary() == "converted 2 shards, 4 videos, 11 frames, 1 skipped, 0 failed"


def test_the_same_shards_give_the_same_bytes(source, target, tmp_path):
    convert(source, target, ConvertOptions(workers=1))
    convert(source, tmp_path / "again", ConvertOptions(workers=1))
    assert hashes(target) == hashes(tmp_path / "again") and len(hashes(target)) == 3


def test_one_shard_alone(source, target):
    assert counts(convert(source / "train0001.tfrecord", target, ConvertOptions(workers=1))) == (1, 1, 2, 0, 0)
    assert list(hashes(target)) == ["train0001.pkl"]


def test_the_pickle_is_named_up_to_the_first_dot(tmp_path, target):
    write_videos(tmp_path / "train0000.part.tfrecord", [a_video("a", 1)])
    convert(tmp_path, target, ConvertOptions(workers=1))
    assert list(hashes(target)) == ["train0000.pkl"]


def test_progress_sees_every_finished_shard(source, target):
    asked, seen = [], []

    def progress(items, *, total=None, desc="", size=None, total_size=None):
        asked.append((total, desc, total_size))
        for item in items:
            seen.append((item["shard"], size(item)))
            yield item

    convert(source, target, ConvertOptions(workers=1), progress=progress)
    sizes = {path.name: path.stat().st_size for path in source.rglob("*.tfrecord")}
    assert asked == [(3, "converting", sum(sizes.values()))]
    assert sorted(seen) == sorted(sizes.items())


def test_a_shard_that_fails_has_no_size(one_is_bad, target):
    sizes = []

    def progress(items, *, size=None, **_):
        for item in items:
            sizes.append(size(item))
            yield item

    convert(one_is_bad, target, ConvertOptions(workers=1, keep_going=True), progress=progress)
    names = ("train0000.tfrecord", "more/train0002.tfrecord")
    assert sorted(sizes) == sorted([0, *((one_is_bad / name).stat().st_size for name in names)])


# --- a rerun ----------------------------------------------------------------------------------------------------


def test_a_rerun_skips_finished_shards(source, target):
    convert(source, target, ConvertOptions(workers=1))
    before = {path: path.stat().st_mtime_ns for path in target.iterdir()}
    assert counts(convert(source, target, ConvertOptions(workers=1))) == (0, 0, 0, 3, 0)
    assert {path: path.stat().st_mtime_ns for path in target.iterdir()} == before


def test_a_new_shard_is_added(source, target):
    convert(source, target, ConvertOptions(workers=1))
    write_videos(source / "train0003.tfrecord", [a_video("new", 4)])
    assert counts(convert(source, target, ConvertOptions(workers=1))) == (1, 1, 4, 3, 0)
    assert len(manifest(target)) == 4


def test_a_removed_pickle_is_made_again(source, target):
    convert(source, target, ConvertOptions(workers=1))
    before = hashes(target)
    (target / "train0001.pkl").unlink()
    assert counts(convert(source, target, ConvertOptions(workers=1))) == (1, 1, 2, 2, 0)
    assert hashes(target) == before


def test_a_pickle_cut_short_is_made_again(source, target):
    convert(source, target, ConvertOptions(workers=1))
    before = hashes(target)
    path = target / "train0002.pkl"
    path.write_bytes(path.read_bytes()[:-10])
    assert counts(convert(source, target, ConvertOptions(workers=1))) == (1, 3, 9, 2, 0)
    assert hashes(target) == before


def test_a_pickle_without_its_row_is_made_again(source, target):
    target.mkdir(parents=True)
    (target / "train0000.pkl").write_bytes(b"left by a run that was killed")
    assert counts(convert(source, target, ConvertOptions(workers=1))) == (3, 6, 16, 0, 0)


@pytest.mark.parametrize("garbage", ['{"shard": "train0002.tfr', "[1, 2]", "3", '{"videos": 3}', ""])
def test_a_half_written_manifest_line_costs_one_shard(source, target, garbage):
    convert(source, target, ConvertOptions(workers=1))
    path = target / "manifest.jsonl"
    rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(rows[:2]) + garbage, encoding="utf-8")
    assert counts(convert(source, target, ConvertOptions(workers=1))) == (1, 3, 9, 2, 0)
    assert [list(row) for row in manifest(target)] == [FIELDS] * 3  # whole again


def test_a_crash_keeps_the_rows_of_finished_shards(source, target):
    def interrupted(items, **_):
        yield from list(items)[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, target, ConvertOptions(workers=1), progress=interrupted)
    assert len(manifest(target)) == 2
    assert counts(convert(source, target, ConvertOptions(workers=1)))[0] == 1


def test_other_keys_are_converted_again(source, target):
    convert(source, target, ConvertOptions(workers=1))
    assert counts(convert(source, target, ConvertOptions(workers=1, keys="bytes")))[:1] == (3,)
    rows = pickle.loads((target / "train0000.pkl").read_bytes())  # noqa: S301 — our own file
    assert b"feature" in rows[0] and "feature" not in rows[0]
    assert counts(convert(source, target, ConvertOptions(workers=1, keys="bytes"))) == (0, 0, 0, 3, 0)
    assert counts(convert(source, target, ConvertOptions(workers=1)))[:1] == (3,)


def test_a_folder_of_an_earlier_version_is_continued_and_ends_with_the_same_bytes(source, target):
    """Its rows were appended with escapes, and a kill could cut the last one anywhere."""
    write_videos(source / "näht.tfrecord", [a_video("new", 4)])
    convert(source, target, ConvertOptions(workers=1))
    path = target / "manifest.jsonl"
    whole, pickles = path.read_bytes(), hashes(target)
    rows = [json.dumps(row) for row in manifest(target)[::-1]]
    for text in ("\n".join(rows) + "\n", "\n".join(rows), "\n".join(rows)[:-70]):
        path.write_text(text, encoding="utf-8")
        path.with_name("manifest.jsonl.crc32c").unlink()
        again = convert(source, target, ConvertOptions(workers=1))
        assert again.converted == (not text.endswith(("}", "}\n"))) and again.skipped == 4 - again.converted
        rows_before = map(json.loads, whole.splitlines())
        assert list(map(without_seconds, rows_before)) == list(map(without_seconds, manifest(target)))
        assert again.converted or path.read_bytes() == whole
        assert hashes(target) == pickles


# --- faults -----------------------------------------------------------------------------------------------------


@pytest.fixture
def one_is_bad(source):
    """``source`` with a flipped bit in the middle shard."""
    path = source / "train0001.tfrecord"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    return source


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bad_shard_ends_the_run_and_is_named(one_is_bad, target, workers):
    with pytest.raises(CorruptRecord, match=r"train0001\.tfrecord, record 0 at byte 0: the checksum of the payload"):
        convert(one_is_bad, target, ConvertOptions(workers=workers))
    assert not (target / "train0001.pkl").exists()


def test_keep_going_converts_the_others(one_is_bad, target):
    done = convert(one_is_bad, target, ConvertOptions(workers=1, keep_going=True))
    assert counts(done) == (2, 5, 14, 0, 1)
    assert "train0001.tfrecord" in str(done.failed[0])
    assert sorted(hashes(target)) == ["train0000.pkl", "train0002.pkl"]
    assert [row["shard"] for row in manifest(target)] == ["train0000.tfrecord", "train0002.tfrecord"]
    assert not list(target.glob(".*"))


def test_a_repaired_shard_is_converted_by_the_next_run(one_is_bad, target):
    convert(one_is_bad, target, ConvertOptions(workers=1, keep_going=True))
    write_videos(one_is_bad / "train0001.tfrecord", [a_video("repaired", 7)])
    assert counts(convert(one_is_bad, target, ConvertOptions(workers=1))) == (1, 1, 7, 2, 0)


def test_two_shards_of_one_name_are_refused(source, target):
    (source / "more" / "train0000.tfrecord").write_bytes((source / "train0000.tfrecord").read_bytes())
    with pytest.raises(AlstmError, match=r"would become the same train0000\.pkl"):
        convert(source, target, ConvertOptions(workers=1))
    assert not target.exists()


def test_nothing_to_convert(tmp_path, target):
    with pytest.raises(AlstmError, match="no such folder"):
        convert(tmp_path / "none", target, ConvertOptions(workers=1))
    (tmp_path / "empty").mkdir()
    with pytest.raises(AlstmError, match=r"no \*\.tfrecord below it"):
        convert(tmp_path / "empty", target, ConvertOptions(workers=1))


def test_a_target_that_is_a_file(source, target):
    target.parent.mkdir()
    target.write_text("")
    with pytest.raises(AlstmError, match="this is a file"):
        convert(source, target, ConvertOptions(workers=1))


def test_a_full_disk_names_the_target(source, target, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(conversion, "save_videos", full)
    with pytest.raises(AlstmError, match=r"\.pkl: No space left on device; free some space") as caught:
        convert(source, target, ConvertOptions(workers=1))
    assert caught.value.where.endswith(".pkl")


# --- at scale -----------------------------------------------------------------------------------------------------


def test_a_shard_newer_than_its_pickle_is_converted_again(source, target):
    convert(source, target, ConvertOptions(workers=1))
    path = source / "train0001.tfrecord"
    write_videos(path, [a_video("x0", 2, [0], seed=1)])  # other content of the same size
    os.utime(path, (time.time() + 10,) * 2)
    assert counts(convert(source, target, ConvertOptions(workers=1))) == (1, 1, 2, 2, 0)
    assert load_videos(target / "train0001.pkl")[0].id == b"x0"


def test_a_shard_as_old_as_its_pickle_is_done(source, target):
    """As on file systems whose clocks tick slowly."""
    convert(source, target, ConvertOptions(workers=1))
    for path in [*source.rglob("*.tfrecord"), *target.iterdir()]:
        os.utime(path, ns=(10**18, 10**18))
    assert counts(convert(source, target, ConvertOptions(workers=1))) == (0, 0, 0, 3, 0)


def test_half_written_files_of_a_killed_run_are_removed(source, target):
    target.mkdir(parents=True)
    (target / ".train0000.pkl.ab12.alstm.tmp").write_bytes(b"half")
    convert(source, target, ConvertOptions(workers=1))
    assert not list(target.glob(".*"))
    (target / ".train0000.pkl.ab12.alstm.tmp").write_bytes(b"half")  # beside what is finished
    assert counts(convert(source, target, ConvertOptions(workers=1))) == (0, 0, 0, 3, 0)
    assert not list(target.glob(".*"))


def test_a_second_run_in_the_same_folder_is_refused(source, target):
    def second(items, **_):
        with pytest.raises(AlstmError, match="another run is writing here"):
            convert(source, target, ConvertOptions(workers=1))
        return items

    assert counts(convert(source, target, ConvertOptions(workers=1), progress=second))[0] == 3


def test_memory_does_not_grow_with_the_shard(tmp_path):
    """One video at a time: a shard of 120 takes no more than one of 40, but for chunks that threads are at work on."""
    peaks = []
    for number in (40, 120):
        shard = tmp_path / f"train{number:04d}.tfrecord"
        write_videos(shard, (a_video(f"{index}", 300) for index in range(number)))
        tracemalloc.start()
        assert not isinstance(conversion.convert_shard(shard, tmp_path / "a.pkl"), AlstmError)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 12e6  # of 14 and 41 MB of features
    assert peaks[1] < peaks[0] + 5e6


@pytest.mark.posix
def test_a_worker_that_dies_is_one_clear_error(source, target, monkeypatch):
    monkeypatch.setattr(conversion, "convert_shard", die)
    with pytest.raises(AlstmError, match="--workers: work was lost before its shard was done") as caught:
        convert(source, target, ConvertOptions(workers=2))
    assert "fewer --workers" in caught.value.remedy


def test_a_fault_of_the_package_is_not_called_lost_work(source, target, monkeypatch):
    monkeypatch.setattr(conversion, "convert_shard", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        convert(source, target, ConvertOptions(workers=1))


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_pickles_are_read_by_plain_python_too(source, target):
    """Other people's readers unpickle these files without this package."""
    convert(source, target, ConvertOptions(workers=1))
    code = "import pickle, sys; rows = pickle.load(open(sys.argv[1], 'rb')); print(type(rows).__name__, len(rows), "
    code += "rows[1]['feature'].shape, rows[1]['audio'].dtype, rows[1]['label'], 'alstm_helpers' in sys.modules)"
    done = run_python(code, str(target / "train0002.pkl"))
    assert done.stdout == "list 3 (3, 1024) uint8 [1] False\n", done.stderr


# --- on a Dask cluster --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster():
    """A scheduler and two worker processes on this machine's loopback."""
    from distributed import LocalCluster

    settings = {"n_workers": 2, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(processes=True, silence_logs=logging.CRITICAL, **settings) as running:
        yield running


def test_a_dask_cluster_gives_the_same_bytes(one_is_bad, target, tmp_path, cluster, monkeypatch):
    """The cluster does the work, a bad shard is named, and the pickles are those of this machine alone."""
    backends = []

    def watched(backend, **how):
        backends.append(backend)
        return parallel_config(backend, **how)

    monkeypatch.setattr(conversion, "parallel_config", watched)
    for number in range(10, 30):
        write_videos(one_is_bad / f"train{number:04d}.tfrecord", [a_video(f"{number}", 3, [1])] * 20)
    done = convert(one_is_bad, target, ConvertOptions(scheduler=cluster.scheduler_address, keep_going=True))
    assert (done.converted, len(done.failed), backends) == (22, 1, ["dask"])
    assert "train0001.tfrecord, record 0 at byte 0" in str(done.failed[0])
    convert(one_is_bad, tmp_path / "alone", ConvertOptions(workers=1, keep_going=True))
    assert hashes(target) == hashes(tmp_path / "alone") and len(hashes(target)) == 22
    assert [row["shard"] for row in manifest(target)] == [row["shard"] for row in manifest(tmp_path / "alone")]
    assert (
        convert(one_is_bad, target, ConvertOptions(scheduler=cluster.scheduler_address, keep_going=True)).skipped == 22
    )


def test_without_keep_going_a_cluster_stops_at_the_bad_shard(one_is_bad, target, cluster):
    with pytest.raises(CorruptRecord, match=r"train0001\.tfrecord"):
        convert(one_is_bad, target, ConvertOptions(scheduler=cluster.scheduler_address))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://x", "no address at all"])
def test_no_scheduler_is_one_clear_error(source, target, monkeypatch, address):
    monkeypatch.setattr(conversion, "DASK_TIMEOUT", 0.5)
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    for logger in loggers:
        monkeypatch.setattr(logger, "level", logging.WARNING)
    with pytest.raises(AlstmError, match=f"--scheduler {address}: no Dask scheduler with workers answers"):
        convert(source, target, ConvertOptions(scheduler=address))
    assert [logger.level for logger in loggers] == [logging.CRITICAL] * 2  # the error says it all


def test_what_an_earlier_client_left_is_gone_before_the_next_one_starts(source, target, monkeypatch):
    """Its finalizer stops a loop, which takes the lock that the start of a loop holds: once, a run waited for ever."""
    events = []

    class Left:
        def __init__(self):
            self.me = self

        def __del__(self):
            events.append("finalised")

    def client(*_, **__):
        events.append("starts")
        raise OSError

    monkeypatch.setattr("distributed.Client", client)
    gc.disable()
    try:
        Left()
        with pytest.raises(AlstmError, match="no Dask scheduler"):
            convert(source, target, ConvertOptions(scheduler="tcp://127.0.0.1:9"))
    finally:
        gc.enable()
    assert events == ["finalised", "starts"]


def test_a_cluster_without_workers_is_one_clear_error(source, target, monkeypatch):
    from distributed import LocalCluster

    monkeypatch.setattr(conversion, "DASK_TIMEOUT", 1)
    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as empty,
        pytest.raises(AlstmError, match="no Dask scheduler with workers answers"),
    ):
        convert(source, target, ConvertOptions(scheduler=empty.scheduler_address))


# --- real files -------------------------------------------------------------------------------------------------


@needs_real_data
def test_real_video_level_shards_fail_by_name(target):
    done = convert(
        Path(os.environ["ALSTM_REAL_DATA"], "video-level"), target, ConvertOptions(workers=1, keep_going=True)
    )
    assert counts(done) == (0, 0, 0, 0, 8)
    assert all(isinstance(error, WrongShard) for error in done.failed)


@needs_real_data
def test_a_folder_of_odd_shards(target):
    done = convert(Path(os.environ["ALSTM_REAL_DATA"], "odd"), target, ConvertOptions(workers=1, keep_going=True))
    assert counts(done) == (2, 2, 368, 0, 2)
    assert [len(load_videos(target / f"own-video-frame-level-{letter}.pkl")) for letter in "ab"] == [1, 1]
