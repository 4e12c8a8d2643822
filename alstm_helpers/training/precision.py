"""Mixed precision: large products in 16 bits; weights, loss and optimiser in 32 (``TRAIN.amp``)."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import Protocol

from alstm_helpers.errors import ConfigError
from alstm_helpers.runtime import Tensor, paddle

_STOP = re.compile(r"^\s*(KeyboardInterrupt|SystemExit:\s*(?P<status>\d+))\b", re.MULTILINE)


class Optimizer(Protocol):
    """The methods of a Paddle optimiser that a training uses."""

    def step(self) -> None: ...

    def clear_grad(self) -> None: ...

    def set_lr(self, value: float) -> None: ...

    def state_dict(self) -> dict[str, Tensor]: ...

    def set_state_dict(self, state_dict: dict[str, Tensor]) -> None: ...


class Scaler(Protocol):
    """The methods of Paddle's ``GradScaler`` that are used here."""

    def scale(self, var: Tensor) -> Tensor: ...

    def step(self, optimizer: Optimizer) -> None: ...

    def update(self) -> None: ...

    def state_dict(self) -> Mapping[str, object]: ...

    def load_state_dict(self, state_dict: Mapping[str, object]) -> None: ...


class Precision:
    """How a step computes: in float32 (``off``), or with ``bfloat16`` or ``float16`` on a GPU.

    float16 has few exponents, so the loss is scaled up before the backward pass, and a step whose gradients overflow
    is skipped (P. Micikevicius et al., arXiv:1710.03740, section 3.2). bfloat16 has the exponents of float32 and needs
    no scaling.

    Args:
        amp: ``off``, ``bfloat16`` or ``float16``.

    Raises:
        ConfigError: the device is a CPU, where Paddle ignores mixed precision.
    """

    def __init__(self, amp: str) -> None:
        if amp != "off" and not paddle.device.get_device().startswith("gpu"):
            raise ConfigError("TRAIN.amp", f"{amp} needs a GPU, Paddle ignores it on a CPU", "set it to off")
        self.amp = amp
        scaled = amp == "float16"
        self._scaler: Scaler | None = paddle.amp.GradScaler(init_loss_scaling=2.0**10) if scaled else None

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Return a context in which layers compute in the lower precision where Paddle considers it safe."""
        return contextlib.nullcontext() if self.amp == "off" else paddle.amp.auto_cast(dtype=self.amp, level="O1")

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients of the loss (a scalar), scaled up if needed.

        Raises:
            KeyboardInterrupt, SystemExit: Ctrl-C or another signal came meanwhile.
        """
        try:
            (self._scaler.scale(loss) if self._scaler else loss).backward()
        except OSError as error:  # Paddle wraps whatever comes out of a backward pass in Python, as the streams' is
            if not (stop := _STOP.search(str(error))):
                raise
            raise (SystemExit(int(stop["status"])) if stop["status"] else KeyboardInterrupt) from None

    def step(self, optimizer: Optimizer) -> None:
        """Update the weights, with unscaled gradients."""
        if self._scaler:
            self._scaler.step(optimizer)
            self._scaler.update()
        else:
            optimizer.step()

    def state(self) -> dict[str, object]:
        """Return what a resume must restore: the scale and its counters, plain numbers; empty without scaling."""
        return dict(self._scaler.state_dict()) if self._scaler else {}

    def restore(self, state: Mapping[str, object]) -> None:
        """Restore what :meth:`state` returned."""
        if self._scaler and state:
            self._scaler.load_state_dict(state)
