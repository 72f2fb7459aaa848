"""Generators' descent runs its course whatever the number of steps."""

import pytest
import torch
from torch import nn

from strategies.common.averaged import AveragedDescent


@pytest.mark.parametrize("warm", [0.05, 0.1])
@pytest.mark.parametrize("steps", [1, 2, 9, 10, 11, 20, 21, 40])
def test_any_number_of_steps_comes_to_an_end_that_is_lower(steps: int, warm: float) -> None:
    weight = nn.Parameter(torch.ones(3))
    descent = AveragedDescent([weight], learning_rate=0.1, steps=steps, ema=0.5, warm=warm)
    for _ in range(steps):
        descent.descend(weight.square().sum())
    descent.finish()
    assert float(weight.detach().square().sum()) < 3
