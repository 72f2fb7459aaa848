"""How generators are trained: one cycle of the learning rate, clipped gradients, and weights that end as their mean."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

LONGEST = 1.0


class AveragedDescent:
    """AdamW on parameters, with a learning rate that rises and falls once (Smith & Topin, 2019) over `steps` steps.

    Gradients are clipped to an L2 norm of 1. ema: the decay of the exponential moving average; warm: the share of the
    steps in which the rate rises.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, learning_rate: float, steps: int, ema: float, warm: float = 0.1
    ) -> None:
        self._parameters = list(parameters)
        self.optimizer = torch.optim.AdamW(self._parameters, lr=learning_rate, fused=True)
        rise = 0.0 if warm * steps == 1 else warm  # torch divides by the length of the rise less one step
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, learning_rate, total_steps=steps, pct_start=rise
        )
        self._average = EMAModel(self._parameters, decay=ema, foreach=True)

    def descend(self, loss: Tensor) -> None:
        """Take one gradient step down a loss."""
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self._parameters, LONGEST)
        self.optimizer.step()
        self.advance()

    def advance(self) -> None:
        """Go on to the next learning rate, after a step that the optimizer was made to take."""
        self._schedule.step()
        self._average.step(self._parameters)

    def finish(self) -> None:
        """Put the average in the parameters' place."""
        self._average.copy_to(self._parameters)
