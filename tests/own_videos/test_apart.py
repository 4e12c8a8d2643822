"""Test that no clip ends the work on others: not by an exception, a crash, an endless loop, nor by what it prints."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.apart import CLIP_SECONDS, work_apart, work_on_one
from alstm_helpers.own_videos.media import Clip
from alstm_helpers.runtime import usable_cores


def do(folder, clip):
    """Do what the name of a clip says; note the process."""
    with (folder / "processes").open("a") as file:
        file.write(f"{clip.path.stem} {os.getpid()}\n")
    os.write(2, b"the last words of a codec\n")
    match clip.path.stem.rstrip("0123456789"):
        case "segv":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(3)
        case "time bomb":
            threading.Timer(0.5, os._exit, [3]).start()
        case "slow":
            time.sleep(1.5)
        case "loop":
            time.sleep(1000)
        case "refuse":
            raise AlstmError(clip.name, "no", "take another")
        case "missing":
            clip.path.open()
        case "memory":
            raise MemoryError
        case "value":
            raise ValueError("two\nlines")
    return clip.path.stem, int(os.environ["OMP_NUM_THREADS"])


def run(folder, names, **options):
    clips = [Clip(folder / f"{name}.mp4") for name in names]
    outcomes = work_apart(partial(do, folder), clips, **options)
    return {clip.path.stem: outcome for clip, outcome in outcomes}


def processes(folder):
    return dict(line.split() for line in (folder / "processes").read_text().splitlines())


@pytest.mark.posix
@pytest.mark.parametrize("workers", [1, 2])
def test_whatever_a_clip_does_the_others_are_finished(tmp_path, workers, capfd):
    bad = {
        "segv": "the process that worked on it ended (SIGSEGV(-11)); play it in a player",
        "kill": "the process that worked on it ended (SIGKILL(-9)); pass fewer --workers",
        "exit": "the process that worked on it ended (EXIT(3)); play it in a player",
        "loop": "it is not done after 6 s; leave it out, or pass a larger --clip_seconds",
        "refuse": "no; take another",
        "missing": "No such file or directory; check the path",
        "memory": "there is not enough memory for it; pass fewer --workers",
        "value": r"it cannot be used (ValueError: two\nlines); play it in a player",
    }
    names = [name for number, each in enumerate(bad) for name in (f"good{2 * number}", each, f"good{2 * number + 1}")]
    found = run(tmp_path, names, workers=workers, seconds=6)
    for name, said in bad.items():
        assert str(found.pop(name)).startswith(f"{tmp_path / name}.mp4: {said}")
    threads = max(1, usable_cores() // workers)
    assert found == {f"good{number}": (f"good{number}", threads) for number in range(2 * len(bad))}
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("pause", [0, 1])
def test_a_clip_does_not_pay_for_an_earlier_one(tmp_path, pause):
    """Damaged memory shows later: while the next clip is worked on, or before it begins."""
    clips = [Clip(tmp_path / f"{name}.mp4") for name in ("time bomb", "slow", "good")]
    found = {}
    for clip, outcome in work_apart(partial(do, tmp_path), clips):
        found[clip.path.stem] = outcome
        time.sleep(pause)
    assert not any(isinstance(outcome, AlstmError) for outcome in found.values()) and len(found) == 3


@pytest.mark.parametrize("cores, workers, clips, threads", [(3, -1, 1, 3), (1, 2, 2, 1)])
def test_the_processes_share_the_cores(tmp_path, monkeypatch, cores, workers, clips, threads):
    """None is without a thread."""
    monkeypatch.setattr("alstm_helpers.own_videos.apart.usable_cores", lambda: cores)
    names = ["a", "b"][:clips]
    assert run(tmp_path, names, workers=workers) == {name: (name, threads) for name in names}


def test_a_process_lives_on_from_clip_to_clip(tmp_path):
    """A network is loaded once per process."""
    run(tmp_path, ["a", "refuse", "b", "value", "c"])
    assert len(set(processes(tmp_path).values())) == 1 and str(os.getpid()) not in processes(tmp_path).values()


@pytest.mark.posix
def test_no_process_is_left(tmp_path):
    """Neither at the end nor when the caller stops in the middle."""
    run(tmp_path, ["a"])
    outcomes = work_apart(partial(do, tmp_path), [Clip(tmp_path / f"{name}.mp4") for name in ("b", "loop")], workers=2)
    next(outcomes)
    while "loop" not in processes(tmp_path):
        time.sleep(0.05)
    outcomes.close()
    for process in processes(tmp_path).values():
        with pytest.raises(ProcessLookupError):
            os.kill(int(process), 0)


@pytest.mark.posix
def test_one_clip_can_be_awaited_and_given_up(tmp_path):
    async def start_and_cancel():
        task = asyncio.create_task(work_on_one(partial(do, tmp_path), Clip(tmp_path / "loop.mp4")))
        while not (tmp_path / "processes").exists():
            await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    found = asyncio.run(work_on_one(partial(do, tmp_path), Clip(tmp_path / "good.mp4")))
    assert found == ("good", usable_cores())
    (tmp_path / "processes").unlink()
    asyncio.run(start_and_cancel())
    with pytest.raises(ProcessLookupError):
        os.kill(int(processes(tmp_path)["loop"]), 0)


def test_a_large_file_has_more_time(tmp_path, monkeypatch):
    monkeypatch.setattr("alstm_helpers.own_videos.apart.CLIP_SECONDS", -1.0)
    with (tmp_path / "loop.mp4").open("wb") as file:
        file.truncate(3_000_000)
    assert "it is not done after 2 s" in str(run(tmp_path, ["loop"])["loop"])
    assert CLIP_SECONDS >= 1800


def test_without_processes_it_is_done_here(tmp_path):
    found = run(tmp_path, ["a", "value"], workers=0)
    assert list(found) == ["a", "value"] and "ValueError" in str(found["value"])
    assert set(processes(tmp_path).values()) == {str(os.getpid())}


def test_no_clips():
    assert list(work_apart(partial(do, Path()), [])) == []
