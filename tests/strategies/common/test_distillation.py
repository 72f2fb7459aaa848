"""Distillation, as in LwF: it is zero where nothing changed, and has the gradient of the paper's cross-entropy."""

from __future__ import annotations

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from strategies.common.distillation import distillation


def logits(seed: int) -> torch.Tensor:
    return 4 * torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(seed))


def test_the_loss_is_zero_at_the_old_segmenter_and_above_it_elsewhere() -> None:
    assert float(distillation(logits(0), logits(0), 2.0)) == 0.0
    assert float(distillation(logits(1), logits(0), 2.0)) > 0.1


def test_the_gradient_is_that_of_cross_entropy_with_soft_labels() -> None:
    new, old, temperature = logits(1).requires_grad_(), logits(0), 3.0
    found = torch.autograd.grad(distillation(new, old, temperature), new)
    soft = torch.sigmoid(old / temperature)
    wanted = torch.autograd.grad(temperature**2 * binary_cross_entropy_with_logits(new / temperature, soft), new)
    torch.testing.assert_close(found, wanted)


def test_at_a_high_temperature_it_is_an_eighth_of_the_squared_difference() -> None:
    found = distillation(logits(1), logits(0), 1000.0)
    torch.testing.assert_close(found, (logits(1) - logits(0)).square().mean() / 8, rtol=0.02, atol=0)


def test_logits_beyond_the_range_of_a_sigmoid_stay_finite() -> None:
    assert torch.isfinite(distillation(torch.full((1, 1, 2, 2), -500.0), torch.full((1, 1, 2, 2), 500.0), 1.0))
