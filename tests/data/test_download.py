"""The downloader against a server on this machine that stalls, cuts off, lies and serves wrong files."""

import gzip
import hashlib
import json
import shutil
import time
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import requests
from fileserver import CONTENT
from support import a_video, default_of, no_file_above

from alstm_helpers.commands import data as commands
from alstm_helpers.data.counts import told_counts
from alstm_helpers.data.download import (
    DownloadOptions,
    Downloads,
    _check_space,
    addresses,
    download,
    in_shard,
    local_name,
    read_plan,
)
from alstm_helpers.data.transfer import Files, Remote, Retry
from alstm_helpers.errors import AlstmError
from alstm_helpers.tfrecord import write_videos


def fetch(server, out, *, workers=2, timeout=0.5, **how):
    options = DownloadOptions(base_url=server.url, workers=workers, retry=Retry(timeout=timeout, pause=0.01))
    return download("2/frame/train", "us", out, options, **how)


def assert_whole(out: Path, names=CONTENT):
    found = {path.name: path.read_bytes() for path in out.glob("*.tfrecord")}
    assert found == {local_name(name): CONTENT[name] for name in names}
    assert not list(out.glob(".*.part"))


def test_local_names_are_counted_as_the_official_downloader_does():
    names = {"train0d.tfrecord": "train3227.tfrecord", "trainaa.tfrecord": "train0000.tfrecord"}
    names |= {"validateab.tfrecord": "validate0001.tfrecord", "train99.tfrecord": "train3843.tfrecord"}
    assert {name: local_name(name) for name in names} == names
    for wrong in ("../trainaa.tfrecord", "trainaa.tfrecord\n"):
        with pytest.raises(ValueError):
            local_name(wrong)


def test_addresses_are_the_official_ones():
    plan, files = addresses("2/frame/validate", "eu", None)
    assert plan == "http://data.yt8m.org/2/download_plans/frame_validate.json"
    assert files == "http://eu.data.yt8m.org/2/frame/validate"
    for wrong in ("../../etc", "2/frame/train\n"):
        with pytest.raises(AlstmError, match="not a partition"):
            addresses(wrong, "eu", None)


def test_shards_partition_the_files():
    parts = [{name for name in CONTENT if in_shard(name, f"{x},3")} for x in (1, 2, 3)]
    assert set.union(*parts) == set(CONTENT)
    assert sum(map(len, parts)) == len(CONTENT)
    name = "trainaa.tfrecord"
    part = int(hashlib.md5(name.encode()).hexdigest(), 16) % 100
    assert in_shard(name, f"{part + 1},100")
    for wrong in ("0,3", "4,3", "1", "1,2,3", "a,b", "1,2\n", "²,3", f"1,{'9' * 5000}"):
        with pytest.raises(AlstmError, match="not part X of Y"):
            in_shard(name, wrong)


@pytest.mark.parametrize(
    "files",
    [
        {"../evil.tfrecord": "0" * 32},
        {"trainaa.tfrecord": "no md5"},
        {"trainaa.tfrecord": 5},
        [],
        {"trainaa.tfrecord\n": "0" * 32},
        {"trainaa.tfrecord": "0" * 32 + "\n"},
    ],
)
def test_a_plan_that_names_anything_else_is_refused(files):
    with pytest.raises(AlstmError):
        read_plan(json.dumps({"files": files}), "plan")


def test_real_plan_is_read(real_data):
    plan = read_plan((real_data / "download-plan.json").read_text(), "plan")
    assert len({remote.local_name for remote in plan}) == len(plan) > 1000


def test_the_summary_counts_in_millions_of_bytes():
    error = AlstmError("a", "b", "c")
    assert Downloads(3, 12_345_678, 4, [error]).summary() == "downloaded 3 files, 12.3 MB, 4 skipped, 1 failed"


def test_all_files_arrive_and_a_rerun_fetches_nothing(server, tmp_path):
    done = fetch(server, tmp_path)
    assert (done.fetched, done.skipped, done.failed) == (6, 0, [])
    assert_whole(tmp_path)
    server.gets.clear()
    assert fetch(server, tmp_path).skipped == 6
    assert server.gets == []


@pytest.mark.parametrize("fault", ["error 503", "wrong file", "cuts off", "lies about length", "stalls", "trickles"])
def test_a_fault_is_retried_until_the_file_is_right(server, tmp_path, fault):
    name = "trainab.tfrecord"
    server.faults[name] = [fault]
    assert fetch(server, tmp_path).fetched == 6
    assert_whole(tmp_path)
    assert server.gets.count(name) == 2


def test_a_file_that_was_cut_off_is_resumed_not_fetched_again(server, tmp_path):
    server.faults["trainab.tfrecord"] = ["cuts off"]
    fetch(server, tmp_path)
    assert server.ranges == ["bytes=20000-"]


def test_a_partial_file_of_an_earlier_run_is_resumed(server, tmp_path):
    tmp_path.joinpath(".train0001.tfrecord.part").write_bytes(CONTENT["trainab.tfrecord"][:30_000])
    fetch(server, tmp_path)
    assert server.ranges == ["bytes=30000-"]
    assert_whole(tmp_path)


def test_a_server_without_ranges_sends_the_file_from_the_start(server, tmp_path):
    tmp_path.joinpath(".train0001.tfrecord.part").write_bytes(b"x" * 30_000)
    server.faults["trainab.tfrecord"] = ["ignores range"]
    fetch(server, tmp_path)
    assert_whole(tmp_path)


def test_a_partial_file_of_something_else_is_discarded(server, tmp_path):
    tmp_path.joinpath(".train0001.tfrecord.part").write_bytes(b"x" * 60_000)
    fetch(server, tmp_path)
    assert_whole(tmp_path)


def test_a_file_that_never_arrives_is_named_and_the_others_come(server, tmp_path):
    server.faults["trainab.tfrecord"] = ["wrong file"] * 5
    done = fetch(server, tmp_path)
    assert done.fetched == 5
    assert "train0001.tfrecord: its md5 differs" in str(done.failed[0])
    assert_whole(tmp_path, CONTENT.keys() - {"trainab.tfrecord"})
    assert fetch(server, tmp_path).fetched == 1
    assert_whole(tmp_path)


def test_a_damaged_local_file_is_fetched_again(server, tmp_path):
    tmp_path.joinpath("train0001.tfrecord").write_bytes(b"damaged by an older downloader")
    assert fetch(server, tmp_path).fetched == 6
    assert_whole(tmp_path)


def test_a_file_that_never_ends_is_given_up_and_the_others_come(server, tmp_path):
    server.faults["trainab.tfrecord"] = ["never ends"] * 5
    files = Files(requests.Session(), f"{server.url}/2/frame/train", tmp_path, largest=10**6)
    outcomes = list(files.fetch_all([Remote(name, local_name(name), None) for name in CONTENT], 2))
    failed = [outcome for outcome in outcomes if isinstance(outcome, AlstmError)]
    assert len(failed) == 1 and "trainab.tfrecord: it has more than 0.001 GB; use another server" in str(failed[0])
    assert server.gets.count("trainab.tfrecord") == 1
    assert_whole(tmp_path, CONTENT.keys() - {"trainab.tfrecord"})


def test_a_whole_file_that_is_not_recorded_is_recorded_not_fetched(server, tmp_path):
    fetch(server, tmp_path)
    (tmp_path / "downloads.jsonl").unlink()
    server.gets.clear()
    assert fetch(server, tmp_path).skipped == 6 and server.gets == []
    assert len((tmp_path / "downloads.jsonl").read_text(encoding="utf-8").splitlines()) == 6


def test_the_videos_of_a_file_are_recorded(server, tmp_path):
    """Of one that was fetched, and of one that was here already; of none that is not a TFRecord."""
    write_videos(tmp_path / "shard", [a_video("a", 1), a_video("b", 2)])
    content = server.files["trainab.tfrecord"] = (tmp_path / "shard").read_bytes()
    server.plan["trainab.tfrecord"] = hashlib.md5(content).hexdigest()
    for _ in range(2):
        fetch(server, tmp_path)
        found = told_counts(sorted(tmp_path.glob("*.tfrecord")))
        assert {path.name: told.videos for path, told in found.items()} == {"train0001.tfrecord": 2}
        (tmp_path / "downloads.jsonl").unlink()


def test_a_wrong_part_is_refused_before_the_server_is_asked(server, tmp_path):
    with pytest.raises(AlstmError, match="not part X of Y"):
        download("2/frame/train", "us", tmp_path, DownloadOptions("7,3", server.url))
    assert server.plan_gets == 0


def test_what_is_taken_unless_said_otherwise():
    assert DownloadOptions().workers == default_of(commands.download, "--workers") == 4


@pytest.mark.parametrize(
    ("statuses", "waits"), [([], [0]), ([503], [0, 0.01]), ([500, 403, 503], [0, 0.01, 0.02, 0.04])]
)
def test_a_plan_is_asked_for_again_after_a_pause(server, tmp_path, monkeypatch, statuses, waits):
    slept: list[float] = []
    monkeypatch.setattr("alstm_helpers.data.download.time", SimpleNamespace(sleep=slept.append))
    server.plan_faults = list(statuses)
    assert fetch(server, tmp_path).fetched == 6
    assert slept == waits and server.plan_gets == len(waits)


def test_a_plan_that_is_not_there_is_asked_for_once(server, tmp_path):
    server.plan_faults = [404]
    with pytest.raises(AlstmError, match="the server answers 404; check the network, --partition"):
        fetch(server, tmp_path)
    assert server.plan_gets == 1


def test_the_largest_plan_is_read(server, tmp_path):
    text = json.dumps({"files": server.plan}).encode()
    server.plan_text = text.ljust(2_000_000)
    assert fetch(server, tmp_path).fetched == 6


@pytest.mark.parametrize("free", [25_000_000_000, 24_999_999_999])
def test_the_space_is_estimated_from_eight_files(tmp_path, monkeypatch, free):
    """Of twenty files of 0, 1, …, 19 × 210 MB every second one is asked for, at most eight; one has no size."""
    asked: list[str] = []

    def size_of(remote):
        asked.append(remote.name)
        return None if remote.name == "6" else 210_000_000 * int(remote.name)

    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    with (tmp_path / ".3.part").open("wb") as part:
        part.truncate(5_000_000_000)  # of the 20 × 210 MB × (0 + 2 + 4 + 8 + 10 + 12 + 14) / 7
    todo, lines = [Remote(str(number), str(number), None) for number in range(20)], list[str]()
    files = cast(Files, SimpleNamespace(out=tmp_path, size_of=size_of))
    if free == 25_000_000_000:
        assert _check_space(files, todo, lines.append) == 30_000_000_000
    else:
        with pytest.raises(AlstmError, match=r"about 30\.00 GB to fetch, 25\.00 GB free; free some space"):
            _check_space(files, todo, lines.append)
    assert lines == ["20 files to fetch, about 30.00 GB; 25.0 GB free"]
    assert asked == ["0", "2", "4", "6", "8", "10", "12", "14"]
    assert _check_space(files, todo[6:7], lines.append) is None
    assert lines[1:] == ["1 files to fetch, of unknown size; 25.0 GB free"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b" " * 3_000_000, "a plan has at most 2,000,000 bytes"),
        (gzip.compress(b" " * 100_000_000), "not a download plan"),
        (b"[" * 1_000_000, "not a download plan"),
        (b'{"files": {"trainaa.tfrecord": "\xff"}}', "not a download plan"),
    ],
)
def test_a_plan_that_is_none(server, tmp_path, text, problem):
    server.plan_text = text
    tracemalloc.start()
    try:
        with pytest.raises(AlstmError, match=problem):
            fetch(server, tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 20 * 10**6
    finally:
        tracemalloc.stop()


@pytest.mark.posix
def test_a_disk_that_is_full_is_named_with_the_file_and_a_rerun_goes_on(server, tmp_path):
    with no_file_above(1000), pytest.raises(OSError, match="File too large") as caught:
        fetch(server, tmp_path)
    assert Path(caught.value.filename).parent == tmp_path
    fetch(server, tmp_path)
    assert_whole(tmp_path)


def test_one_worker_per_core(server, tmp_path):
    assert fetch(server, tmp_path, workers=-1).fetched == 6


@pytest.mark.parametrize("size", [-5, 10**400])
def test_a_size_that_no_file_has_is_no_size(server, tmp_path, size):
    server.announced_size = size
    lines: list[str] = []
    assert fetch(server, tmp_path, report=lines.append).fetched == 6
    assert "of unknown size" in lines[0]


def test_the_size_of_a_refusal_is_no_size(server, tmp_path):
    server.head_status = 403
    lines: list[str] = []
    assert fetch(server, tmp_path, report=lines.append).fetched == 6
    assert "of unknown size" in lines[0]


def test_too_little_space_is_said_before_anything_is_fetched(server, tmp_path):
    server.announced_size = 10**15
    lines: list[str] = []
    with pytest.raises(AlstmError, match="GB to fetch"):
        fetch(server, tmp_path, report=lines.append)
    assert server.gets == []
    assert "6 files to fetch, about 6000000.00 GB" in lines[0]


def test_no_plan_is_one_clear_error(tmp_path):
    with pytest.raises(AlstmError, match="no answer"):
        options = DownloadOptions(base_url="http://127.0.0.1:9", retry=Retry(attempts=2, timeout=0.5, pause=0.01))
        download("2/frame/train", "us", tmp_path, options)


def interrupted(items, **_):
    """A progress wrapper that is stopped after the first file, as by Ctrl-C."""
    for item in items:
        yield item
        raise KeyboardInterrupt


def test_ctrl_c_stops_the_files_in_transfer_and_a_rerun_resumes(server, tmp_path):
    """Without a wait for all that was queued, and with what had come kept."""
    with pytest.raises(KeyboardInterrupt):
        fetch(server, tmp_path, progress=interrupted, workers=1)
    assert len(server.gets) < len(CONTENT)
    record = (tmp_path / "downloads.jsonl").read_text().splitlines()
    assert len(record) == 1  # of the file that was handed on before
    done = fetch(server, tmp_path)
    assert done.skipped >= 1 and done.failed == []
    assert_whole(tmp_path)


def test_a_file_in_transfer_is_stopped_in_its_middle(server, tmp_path):
    part = tmp_path / ".train0001.tfrecord.part"

    def interrupted_then(items, **_):
        """Stop after the first file, but not before some of the slow one is there: threads start in any order."""
        for item in items:
            yield item
            deadline = time.monotonic() + 60
            while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
                time.sleep(0.001)
            raise KeyboardInterrupt

    server.faults["trainab.tfrecord"] = ["drips"]
    with pytest.raises(KeyboardInterrupt):
        fetch(server, tmp_path, progress=interrupted_then, workers=6, timeout=5)
    assert not (tmp_path / "train0001.tfrecord").exists()
    assert 0 < part.stat().st_size < 50_000
    fetch(server, tmp_path)
    assert_whole(tmp_path)


def test_progress_counts_bytes(server, tmp_path):
    asked, sizes = [], []

    def progress(items, *, total=None, desc="", size=None, total_size=None):
        asked.append((total, desc, total_size))
        for item in items:
            sizes.append(size(item))
            yield item

    server.faults["trainab.tfrecord"] = ["wrong file"] * 5
    fetch(server, tmp_path, progress=progress)
    assert asked == [(6, "downloading", 300_000)]
    assert sorted(sizes) == [0, *[50_000] * 5]


def test_a_server_that_denies_the_range_of_a_whole_file(server, tmp_path):
    """416 to a request without a range is a fault of the server like any other."""
    server.faults["trainab.tfrecord"] = ["error 416"]
    assert fetch(server, tmp_path).failed == []
    assert_whole(tmp_path)


def test_a_second_run_in_the_same_folder_is_refused(server, tmp_path):
    def second(items, **_):
        with pytest.raises(AlstmError, match="another run is writing here"):
            fetch(server, tmp_path)
        return items

    assert fetch(server, tmp_path, progress=second).fetched == 6
