"""Mixed precision: the large products in 16 bits, the weights, the loss and the optimiser in 32 (``TRAIN.amp``)."""

from __future__ import annotations

import contextlib
from typing import Any

from alstm_helpers.errors import ConfigError
from alstm_helpers.runtime import paddle


class Precision:
    """How a step computes: all in float32 (``off``), or with ``bfloat16`` or ``float16`` on a GPU.

    float16 has few exponents, so the loss is scaled up before the backward pass, and a step whose gradients overflow
    is left out (P. Micikevicius et al., arXiv:1710.03740, section 3.2). bfloat16 has those of float32 and needs none.

    Raises:
        ConfigError: the device is a CPU, where Paddle ignores mixed precision.
    """

    def __init__(self, amp: str) -> None:
        self.amp, self._scaler = amp, None
        if amp == "off":
            return
        if not paddle.device.get_device().startswith("gpu"):
            raise ConfigError("TRAIN.amp", f"{amp} needs a GPU, Paddle ignores it on a CPU", "set it to off")
        if amp == "float16":
            self._scaler = paddle.amp.GradScaler(init_loss_scaling=2.0**10)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Within it, the layers compute in the lower precision where Paddle holds that safe."""
        return contextlib.nullcontext() if self.amp == "off" else paddle.amp.auto_cast(dtype=self.amp, level="O1")

    def backward(self, loss: Any) -> None:
        """Gradients of the loss (a scalar), scaled up where that is needed."""
        (self._scaler.scale(loss) if self._scaler else loss).backward()

    def step(self, optimizer: Any) -> None:
        """The update, with the scale taken out of the gradients again."""
        if self._scaler:
            self._scaler.step(optimizer)
            self._scaler.update()
        else:
            optimizer.step()

    def state(self) -> dict[str, Any]:
        """What a resume must restore: the scale and its counters; plain numbers, and empty without scaling."""
        return dict(self._scaler.state_dict()) if self._scaler else {}

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`state` took."""
        if self._scaler and state:
            self._scaler.load_state_dict(state)
