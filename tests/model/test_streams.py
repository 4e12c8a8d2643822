"""Both streams at once: the same numbers as one after the other, forward and backward, to the last bit."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from numpy_network import small_batch, small_net

from alstm_helpers import runtime
from alstm_helpers.model import POOLINGS, streams
from alstm_helpers.runtime import paddle

LENGTHS = [1, 7, 3, 20, 12]


@pytest.fixture(params=[1, 2], ids=["in turn", "at once"])
def cores(monkeypatch, request):
    monkeypatch.setattr(runtime, "usable_cores", lambda: request.param)
    return request.param


def tensors():
    return [paddle.to_tensor(array) for array in small_batch(LENGTHS)]


def gradients(net, *, steps=1):
    """Logits and gradients by name, after ``steps`` backward passes that add up; zeros for a frozen parameter."""
    net.train()
    paddle.seed(7)
    for _ in range(steps):
        logits = net(*tensors())
        (logits * paddle.arange(logits.size, dtype="float32").reshape(logits.shape)).sum().backward()
    rows = {name: None if one.grad is None else one.grad.numpy() for name, one in net.named_parameters()}
    return logits.numpy(), rows


def both_ways(monkeypatch, pooling, **settings):
    """The results of :func:`gradients` with one core and with two; and whether two worked at once."""
    called, original = [], streams.at_once

    def at_once(works):
        called.append(len(works))
        return original(works)

    monkeypatch.setattr(streams, "at_once", at_once)
    for count in (1, 2):
        monkeypatch.setattr(runtime, "usable_cores", lambda count=count: count)
        assert not called
        yield gradients(small_net(pooling), **settings)
    assert called


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_logits_and_gradients_are_the_same_to_the_last_bit(monkeypatch, pooling, steps):
    (logits, one), (others, other) = both_ways(monkeypatch, pooling, steps=steps)
    np.testing.assert_array_equal(logits, others)
    for name, gradient in one.items():
        np.testing.assert_array_equal(gradient, other[name], err_msg=name)
        assert name.startswith("att") or np.abs(gradient).max() > 0, name


@pytest.mark.usefixtures("cores")
def test_frozen_streams_get_no_gradient_and_the_last_layers_do():
    net = small_net()
    for name, parameter in net.named_parameters():
        parameter.stop_gradient = not name.startswith("fc_out") and not name.startswith("fc_logit")
    _, found = gradients(net)
    assert {name for name, gradient in found.items() if gradient is not None} == {
        name for name in found if name.startswith(("fc_out", "fc_logit"))
    }


@pytest.mark.usefixtures("cores")
def test_one_frozen_stream_leaves_the_other_learning():
    net = small_net()
    for name, parameter in net.named_parameters():
        parameter.stop_gradient = name.startswith(("fc_feature0", "bi_lstm0", "att_fc0"))
    _, found = gradients(net)
    assert found["fc_feature0.weight"] is None and np.abs(found["fc_feature1.weight"]).max() > 0


@pytest.mark.usefixtures("cores")
def test_a_gradient_reaches_the_frames_where_it_is_asked_for():
    net = small_net()
    net.train()
    rgb, audio, lengths = tensors()
    rgb = rgb.astype("float32") / 64 - 2
    rgb.stop_gradient = False
    net(rgb, audio, lengths).sum().backward()
    assert np.abs(rgb.grad.numpy()[0, 0]).max() > 0 and not rgb.grad.numpy()[0, 1:].any()  # 1 second, then padding


@pytest.mark.usefixtures("cores")
@pytest.mark.parametrize("training", [True, False])
def test_without_gradients_nothing_is_recorded(training):
    net = small_net(drop_rate=0.0)
    expected = net(*tensors()).numpy()
    net.train() if training else net.eval()
    with paddle.no_grad():
        logits = net(*tensors())
    assert logits.stop_gradient
    np.testing.assert_array_equal(logits.numpy(), expected)


# --- the faster way ---------------------------------------------------------------------------------------------


class FakeWays:
    """Both ways with a clock of their own: seconds per call, by way; ``taken`` has the way of each call."""

    def __init__(self, monkeypatch, seconds):
        self.seconds, self.taken, self.now = dict(seconds), [], 0.0
        monkeypatch.setattr(streams, "at_once", lambda works: self._pass(True))
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def _pass(self, way):
        self.taken.append(way)
        self.now += self.seconds[way]
        return []

    def run(self, pace, calls, *, way=None, size=1):
        for _ in range(calls):
            pace.run([lambda: self._pass(False)], size, way)


@pytest.mark.parametrize("faster", [True, False])
def test_the_faster_way_is_taken_and_the_other_one_tried_now_and_then(monkeypatch, faster):
    ways = FakeWays(monkeypatch, {faster: 1.0, not faster: 1.3})
    ways.run(streams.Pace(), 200)
    assert ways.taken.count(not faster) == (4 if faster else 2 + 3)
    assert set(ways.taken[10:60]) == {faster}


def test_a_core_that_is_taken_or_free_again_is_noticed(monkeypatch):
    ways, pace = FakeWays(monkeypatch, {True: 0.6, False: 1.0}), streams.Pace()
    ways.run(pace, 20)
    ways.seconds[True] = 1.3  # another program has come
    ways.run(pace, 2 * streams.TRIED_EVERY)
    assert ways.taken[-30:].count(False) >= 29
    ways.seconds[True] = 0.6  # and gone
    ways.run(pace, 2 * streams.TRIED_EVERY)
    assert ways.taken[-30:].count(True) >= 29


def test_one_slow_call_changes_nothing(monkeypatch):
    ways, pace = FakeWays(monkeypatch, {True: 0.6, False: 1.0}), streams.Pace()
    ways.run(pace, 20)
    ways.seconds[True] = 9.0
    ways.run(pace, 1)
    ways.seconds[True] = 0.6
    ways.run(pace, 20)
    assert set(ways.taken[-20:]) == {True}


def test_a_batch_of_longer_videos_does_not_count_as_slow(monkeypatch):
    ways, pace = FakeWays(monkeypatch, {True: 1.0, False: 1.3}), streams.Pace()
    ways.run(pace, 10)
    ways.seconds = {True: 5.0, False: 6.5}
    ways.run(pace, 20, size=5)
    assert set(ways.taken[-20:]) == {True}


@pytest.mark.parametrize("way", [True, False])
def test_a_way_that_is_asked_for_is_taken(monkeypatch, way):
    ways = FakeWays(monkeypatch, {way: 9.0, not way: 1.0})
    ways.run(streams.Pace(), 80, way=way)
    assert set(ways.taken) == {way}


# --- at_once ----------------------------------------------------------------------------------------------------


def test_the_works_run_at_the_same_time():
    meeting = threading.Barrier(3, timeout=20)  # raises if they do not all come
    assert sorted(streams.at_once([meeting.wait] * 3)) == [0, 1, 2]


def test_results_keep_the_order_of_the_works():
    assert streams.at_once([lambda: "a", lambda: "b", lambda: "c"]) == ["a", "b", "c"]
    assert streams.at_once([]) == []  # as when all streams are frozen


@pytest.mark.parametrize("enabled", [True, False])
def test_gradients_are_on_or_off_in_each_work_as_they_are_here(enabled):
    with paddle.set_grad_enabled(enabled):
        assert streams.at_once([paddle.is_grad_enabled] * 2) == [enabled] * 2
    assert streams.at_once([paddle.is_grad_enabled] * 2) == [True] * 2


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_comes_out_once_all_works_have_ended(failing):
    ended = threading.Event()

    def fails():
        raise ValueError("broken")

    def ends():
        threading.Event().wait(0.05)
        ended.set()

    with pytest.raises(ValueError, match="broken"):
        streams.at_once([fails, ends] if failing == 0 else [ends, fails])
    assert ended.is_set()
