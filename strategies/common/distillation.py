"""Distillation: what one segmenter says of images, as a soft label for another (Hinton et al., arXiv 1503.02531)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def distillation(logits: Tensor, old: Tensor, temperature: float) -> Tensor:
    """Return T^2 KL(sigmoid(old / T) || sigmoid(logits / T)), a mean over pixels; both are [N, S, H, W]."""
    new, old = logits / temperature, old / temperature
    yes = torch.sigmoid(old)
    divergence = yes * (logsigmoid(old) - logsigmoid(new)) + (1 - yes) * (logsigmoid(-old) - logsigmoid(-new))
    return temperature**2 * divergence.mean()
