"""How the bench measures: rounds, spread, refused ratios, processor time, and sides in processes of their own."""

from __future__ import annotations

import itertools
import sys
import time
from functools import partial
from types import SimpleNamespace

import pytest

from alstm_helpers.errors import AlstmError
from alstm_helpers.machine import measure, on_request
from alstm_helpers.machine.measure import Side, alternate, rate, ratio, spread_of, started, took
from alstm_helpers.machine.on_request import Sample


def recorder(order, name):
    """Return a measure that records when it is called, and gives the number of calls before it."""

    def call():
        order.append(name)
        return Sample(len(order), 0.5)

    return call


def test_sides_alternate_and_every_second_round_goes_backwards():
    """The first round does not count; after the time is over, no further round begins."""
    order: list[str] = []
    times = iter([0, 19, 41])  # at the start, and once the least number of rounds is over
    samples = alternate({name: recorder(order, name) for name in "abc"}, 40, clock=lambda: next(times))
    assert "".join(order) == "abc" + "abc" + "cba" + "abc" + "cba"
    assert [sample.wall for sample in samples["a"]] == [4, 9, 10, 15]


def test_the_number_of_rounds():
    for seconds, rounds in ((1000, measure.LEAST_ROUNDS), (1, measure.MOST_ROUNDS)):
        order: list[str] = []
        clock = itertools.count(step=seconds)
        samples = alternate({"a": recorder(order, "a")}, 100, warm_up=False, clock=partial(next, clock))
        assert len(samples["a"]) == len(order) == rounds


@pytest.mark.parametrize(("rounds", "left_out"), [(1, 0), (5, 0), (8, 0), (9, 1), (11, 1), (12, 2), (15, 3), (20, 5)])
def test_the_spread_leaves_out_what_the_sign_test_allows(rounds, left_out):
    """The numbers of the tables of the sign test, at 5 % on both sides."""
    values = [7 * number % rounds for number in range(rounds)] if rounds % 7 else list(range(rounds))
    assert spread_of(values) == (left_out, rounds - 1 - left_out)


def test_figures_are_medians_by_both_clocks():
    samples = [Sample(2, 10), Sample(1, 4), Sample(4, 5)]
    figure = rate(20, samples, "what", "MB/s")
    assert (figure.value, figure.spread, figure.cpu, figure.cpu_spread) == (10, (5, 20), 4, (2, 5))
    figure = took(samples, "what", "ms", 1000)
    assert (figure.value, figure.spread, figure.cpu, figure.cpu_spread) == (2000, (1000, 4000), 5000, (4000, 10000))


def test_a_ratio_compares_what_was_measured_in_the_same_round():
    """The machine is ten times slower in the last round, which changes times but not ratios."""
    ours, theirs = [Sample(1, 2), Sample(1, 2), Sample(10, 4)], [Sample(2, 1), Sample(2.5, 1), Sample(30, 3)]
    found = ratio(ours, theirs, "a to b")
    assert (found.value, found.spread, found.cpu, found.cpu_spread) == (2.5, (2, 3), 0.5, (0.5, 0.75))
    assert found.what == "a to b"


@pytest.mark.parametrize(
    ("theirs", "value", "cpu", "reason"),
    [
        ([(1.1, 2), (0.9, 2), (1.2, 2)], None, 2, "by wall clock"),
        ([(1.1, 0.9), (1.1, 1.2), (1.1, 1.2)], 1.1, None, "by processor time"),
        ([(0.9, 1), (0.8, 1), (1, 1)], None, None, "by wall clock and by processor time"),
    ],
)
def test_a_ratio_is_refused_if_the_spread_is_larger_than_the_difference(theirs, value, cpu, reason):
    found = ratio([Sample(1, 1)] * 3, [Sample(*each) for each in theirs], "a to b")
    assert (found.value, found.cpu) == (value, cpu)
    assert found.what == f"a to b (–, {reason}: spread larger than the difference)"
    assert found.spread == (min(wall for wall, _ in theirs), max(wall for wall, _ in theirs))


class Clocks:
    """Fake clocks; work of a second uses two of processor time, and then threads spin for three naps."""

    def __init__(self):
        self.wall = self.cpu = 0.0
        self.naps, self.spinning = 0, 3

    def work(self, seconds):
        self.wall += seconds
        self.cpu += 2 * seconds

    def sleep(self, seconds):
        self.naps += 1
        self.wall += seconds
        self.cpu += seconds if self.naps <= self.spinning else 0


@pytest.fixture
def clocks(monkeypatch):
    clocks = Clocks()
    fake = SimpleNamespace(perf_counter=lambda: clocks.wall, process_time=lambda: clocks.cpu, sleep=clocks.sleep)
    monkeypatch.setattr(on_request, "time", fake)
    fake.get_clock_info = time.get_clock_info
    return clocks


def test_processor_time_is_measured_beside_the_wall_clock(clocks):
    """Short work is repeated; threads that spin after it are waited for and do not count."""
    sample = on_request.measured(lambda: clocks.work(0.03))
    assert sample == pytest.approx((0.03, 0.06))
    assert clocks.naps == 4 and clocks.wall == pytest.approx(4 * 0.03 + 4 * on_request.PAUSE)
    assert on_request.measured(lambda: clocks.work(5)) == pytest.approx((5, 10))


def test_threads_that_never_sleep_are_waited_for_a_second(clocks):
    clocks.spinning = 10**9
    on_request.measured(lambda: clocks.work(1))
    assert clocks.wall == pytest.approx(2, abs=2 * on_request.PAUSE)


def test_work_that_uses_no_processor_has_a_rate(clocks):
    assert on_request.measured(lambda: clocks.sleep(1)).cpu > 0


# --- the other process --------------------------------------------------------------------------------------------

SCRIPT = """
import os, sys, time

def make_works(first, second):
    print("noise while it starts")
    assert first == "1 a"
    works = {
        "sleeps": lambda: (os.system("echo noise"), time.sleep(0.15)),
        "computes": lambda: sum(range(3 * 10**6)),
        "lasts": lambda: time.sleep(5),
        "fails": lambda: sys.exit("line\\nno such layer"),
        "dies": lambda: os._exit(3),
    }
    return f"Library {second} {os.environ['TO_THE_SIDE']} {os.environ.get('NOT_TO_THE_SIDE')}", works
"""


@pytest.fixture
def side(tmp_path, monkeypatch):
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "side.py").write_text(SCRIPT, encoding="utf-8")
    monkeypatch.setattr(measure, "course_files", lambda: tmp_path)
    monkeypatch.setenv("NOT_TO_THE_SIDE", "1")
    environment = {"TO_THE_SIDE": "x", "NOT_TO_THE_SIDE": None}
    return Side(sys.executable, "--pytorch", "side", ["1 a", "é"], environment)


def test_measurements_in_another_python(side):
    """What it prints is not taken for an answer; both clocks are those of its process."""
    with started(side) as worker:
        assert worker.title == "Library é x None"
        samples = alternate({name: worker.measure(name) for name in ("sleeps", "computes")}, 0, warm_up=False)
        assert worker._process.poll() is None
    assert worker._process.poll() is not None
    for asleep, awake in zip(samples["sleeps"], samples["computes"], strict=True):
        assert asleep.wall >= 0.15 and asleep.cpu < asleep.wall / 2 < asleep.wall
        assert awake.cpu > 0 and awake.wall > 0


@pytest.mark.parametrize(("name", "said"), [("fails", "no such layer"), ("dies", "exit status 3")])
def test_a_failure_in_the_other_process_is_one_sentence(side, name, said):
    """The next question to it fails likewise, and it is not left behind."""
    expected = rf"^--pytorch .*python\S*: side failed \({said}\); name a Python that has what side imports$"
    with pytest.raises(AlstmError, match=expected), started(side) as worker:
        with pytest.raises(AlstmError, match=expected):
            worker.measure(name)()
        worker.measure("computes")()
    assert worker._process.poll() is not None


def test_a_python_that_cannot_start_its_side(side):
    for changed, expected in (
        ({"arguments": ["", ""]}, r"side failed \(AssertionError\); name a"),
        ({"python": "none"}, r"--pytorch none: side failed \(.*none.*\)"),
        ({"module": "no_such_side"}, "No module named 'no_such_side'"),
    ):
        with pytest.raises(AlstmError, match=expected), started(side._replace(**changed)):
            raise AssertionError("it must not come this far")


def test_the_other_process_ends_with_the_input(side):
    """Also if this process is killed and cannot end it: then its input ends."""
    with started(side) as worker:
        assert worker._process.stdin
        worker._process.stdin.close()
        assert worker._process.wait(30) == 0


def test_the_other_process_ends_with_an_interruption(side):
    """It does not first finish what it measures."""
    with pytest.raises(KeyboardInterrupt), started(side) as worker:
        assert worker._process.stdin
        worker._process.stdin.write(b"lasts\n")
        raise KeyboardInterrupt
    assert worker._process.poll() not in (0, None)
