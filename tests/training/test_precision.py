"""Mixed precision: refused where it has no effect; its scaling by hand, with a stand-in for Paddle's scaler."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support import changed

from alstm_helpers.errors import ConfigError
from alstm_helpers.runtime import paddle
from alstm_helpers.safe_pickle import load_plain, save_plain
from alstm_helpers.training import precision
from alstm_helpers.training.precision import Precision
from alstm_helpers.training.train import TrainOptions, train


class Scaler:
    """Record the calls."""

    def __init__(self, init_loss_scaling):
        self.scale_now, self.seen = init_loss_scaling, []

    def scale(self, loss):
        self.seen.append(("scale", loss))
        return SimpleNamespace(backward=lambda: self.seen.append("backward"))

    def step(self, optimizer):
        self.seen.append(("step", optimizer))

    def update(self):
        self.seen.append("update")

    def state_dict(self):
        return {"scale": np.array([self.scale_now], np.float32), "incr_count": 3, "use_dynamic_loss_scaling": True}

    def load_state_dict(self, state):
        self.scale_now = float(state["scale"][0])


@pytest.fixture
def gpu(monkeypatch):
    """Stand in for Paddle on a GPU; return the settings with which its autocast is entered."""
    entered = []

    @contextlib.contextmanager
    def auto_cast(**settings):
        entered.append(settings)
        yield

    amp = SimpleNamespace(GradScaler=Scaler, auto_cast=auto_cast)
    device = SimpleNamespace(get_device=lambda: "gpu:0")
    monkeypatch.setattr(precision, "paddle", SimpleNamespace(amp=amp, device=device))
    return entered


@pytest.mark.parametrize("amp", ["bfloat16", "float16"])
def test_on_a_cpu_it_is_refused(tiny_config, tmp_path, amp):
    with pytest.raises(ConfigError, match=rf"TRAIN\.amp: {amp} needs a GPU.*set it to off"):
        train(changed(tiny_config, TRAIN__amp=amp), tmp_path / "out", TrainOptions(visualdl=False))
    assert not (tmp_path / "out").exists()


def test_float16_scales_the_loss_and_lets_the_scaler_step(gpu):
    chosen: Any = Precision("float16")
    with chosen.autocast():
        chosen.backward("loss")
    chosen.step("optimizer")
    assert gpu == [{"dtype": "float16", "level": "O1"}] and chosen._scaler.scale_now == 1024
    assert chosen._scaler.seen == [("scale", "loss"), "backward", ("step", "optimizer"), "update"]


def test_bfloat16_needs_no_scaling(gpu):
    chosen: Any = Precision("bfloat16")
    seen: list[str] = []
    with chosen.autocast():
        chosen.backward(SimpleNamespace(backward=lambda: seen.append("backward")))
    chosen.step(SimpleNamespace(step=lambda: seen.append("step")))
    assert gpu == [{"dtype": "bfloat16", "level": "O1"}]
    assert seen == ["backward", "step"] and chosen.state() == {}


def test_off_casts_nothing(gpu):
    with Precision("off").autocast():
        assert gpu == []


def test_a_resume_restores_the_scale(gpu, tmp_path):
    first: Any = Precision("float16")
    second: Any = Precision("float16")
    first._scaler.scale_now = 64.0
    save_plain(tmp_path / "state", first.state())
    second.restore(load_plain(tmp_path / "state", ""))
    assert second._scaler.scale_now == 64.0
    Precision("off").restore(first.state())  # switched off on a resume
    second.restore({})  # switched on on a resume: the scale it starts with
    assert second._scaler.scale_now == 64.0


class WorkingScaler(Scaler):
    """Scale, twice as much after each step; by powers of two, so that no bit changes."""

    def scale(self, loss):
        return loss * self.scale_now

    def step(self, optimizer):
        for parameter in optimizer._parameter_list:
            parameter.grad.set_value(parameter.grad / self.scale_now)
        optimizer.step()

    def update(self):
        self.scale_now *= 2


def test_a_training_uses_it_and_a_resume_restores_its_scale(gpu, tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr("alstm_helpers.training.precision.paddle.amp.GradScaler", WorkingScaler)
    config = changed(tiny_config, TRAIN__schedule="step")  # two epochs of four steps
    train(config, tmp_path / "off", TrainOptions(seed=5, visualdl=False))
    assert gpu == []
    for epoch, start in (1, {"seed": 5}), (2, {"resume": tmp_path / "scaled"}):
        scaled = changed(config, TRAIN__amp="float16", TRAIN__epoch=epoch)
        train(scaled, tmp_path / "scaled", TrainOptions(visualdl=False, **start))
        state = load_plain(tmp_path / "scaled" / "AttentionLSTM_latest.pdstate", "")
        assert state["scaler"]["scale"].tolist() == [2.0 ** (10 + 4 * epoch)]
        assert len(gpu) == 4 * epoch
    expected = load_plain(tmp_path / "off" / "AttentionLSTM_latest.pdstate", "")["weights"]
    assert all(np.array_equal(state["weights"][name], array) for name, array in expected.items())


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(143), ValueError("a bug")])
def test_a_signal_during_the_backward_pass_is_one(stop):
    """Paddle makes an OSError of two thousand characters of whatever the backward pass raises in Python."""

    class Stopped(paddle.autograd.PyLayer):  # type: ignore[misc]
        @staticmethod
        def forward(context, x):
            return 2 * x

        @staticmethod
        def backward(context, gradient):
            raise stop

    x = paddle.ones([1])
    x.stop_gradient = False
    with pytest.raises(OSError if isinstance(stop, ValueError) else type(stop)) as found:
        precision.Precision("off").backward(Stopped.apply(x).sum())
    assert isinstance(stop, ValueError) or found.value.args == stop.args
