"""IRM: the penalty is the squared derivative by a scale of the logits, as defined."""

from __future__ import annotations

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from strategies.common.segmenter import segmentation_loss
from strategies.irm import risk_and_penalty


def test_for_cross_entropy_it_is_the_closed_form() -> None:
    """d/ds BCE(s z, y) at s = 1 is mean((sigmoid(z) - y) z)."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 1, 4, 4, generator=generator, requires_grad=True)
    masks = (torch.rand(3, 1, 4, 4, generator=generator) > 0.5).float()
    risk, penalty = risk_and_penalty(binary_cross_entropy_with_logits, logits, masks)
    slope = ((torch.sigmoid(logits) - masks) * logits).mean()
    torch.testing.assert_close(risk, binary_cross_entropy_with_logits(logits, masks))
    torch.testing.assert_close(penalty, slope.square())
    (through,) = torch.autograd.grad(penalty, logits, retain_graph=True)
    (expected,) = torch.autograd.grad(slope.square(), logits)
    torch.testing.assert_close(through, expected)


def test_for_the_segmentation_loss_it_is_the_difference_quotient() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 1, 4, 4, generator=generator, dtype=torch.float64)
    masks = (torch.rand(3, 1, 4, 4, generator=generator) > 0.5).double()
    _, penalty = risk_and_penalty(segmentation_loss, logits, masks)
    up, down = (segmentation_loss(scale * logits, masks) for scale in (1.0001, 0.9999))
    torch.testing.assert_close(penalty, ((up - down) / 0.0002) ** 2, rtol=1e-3, atol=1e-8, check_dtype=False)
