"""Processes end with the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import closing

import pytest
from joblib import delayed
from joblib.parallel import get_active_backend

from alstm_helpers.workers import end_idle, processes, results

pytestmark = pytest.mark.posix
WORK = """
import signal, time
from contextlib import closing
from joblib import delayed
from alstm_helpers.workers import end_idle, processes, results
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background may have inherited as ignored
with closing(results([delayed(time.sleep)(seconds) for seconds in (0, 600, 600)], processes(2, 3))) as done:
    next(done)
    print("go", flush=True)
    next(done)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_the_one_that_started_it(number):
    """Its own group holds them all; joblib's own processes would wait for five minutes."""
    run = subprocess.Popen([sys.executable, "-c", WORK], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert run.stdout and run.stdout.readline() == "go\n"
    os.kill(run.pid, number)
    try:
        run.wait(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        raise
    finally:
        run.stdout.close()
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            os.killpg(run.pid, 0)
            time.sleep(0.1)
    except ProcessLookupError:
        return
    os.killpg(run.pid, signal.SIGKILL)
    pytest.fail("processes are left")


@pytest.mark.parametrize(("count", "jobs", "expected"), [(1000, 2, 2), (2, 1000, 2), (-1, 3, 3), (-1, 9, 4), (5, 0, 1)])
def test_no_more_processes_than_jobs(monkeypatch, count, jobs, expected):
    monkeypatch.setattr("alstm_helpers.workers.usable_cores", lambda: 4)
    with processes(count, jobs):
        assert get_active_backend()[1] == expected


def test_processes_share_the_cores(monkeypatch):
    """The package has set the variables to all cores here; more threads than cores wait for each other."""
    monkeypatch.setattr("alstm_helpers.workers.usable_cores", lambda: 5)
    for name in ("OMP_NUM_THREADS", "LOKY_MAX_CPU_COUNT"):
        monkeypatch.setenv(name, "5")
        with closing(results([delayed(os.getenv)(name)] * 2, processes(2, 2))) as found:
            assert list(found) == ["2", "2"]
    begun = multiprocessing.active_children()
    end_idle()
    assert begun and not multiprocessing.active_children()
