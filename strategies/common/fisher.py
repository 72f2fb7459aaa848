"""The diagonal of a segmenter's Fisher information: how much each parameter matters to what it predicts."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from strategies.common.segmenter import build_segmenter
from strategies.setting import Setting


def fisher_diagonal(network: nn.Module, images: Tensor, seed: int) -> dict[str, Tensor]:
    """Return the diagonal per pixel, a value for each parameter, over images float32 [N, C, H, W].

    A mean over slices of squared gradients of the log-likelihood, divided by the pixels of a slice. Labels are drawn
    from the network's own prediction, one set a slice, as the Fisher information has them.
    """
    generator = torch.Generator().manual_seed(seed)
    fisher = {name: torch.zeros_like(value) for name, value in network.named_parameters()}
    network.eval()
    for image in images:
        logits = network(image[None])
        labels = torch.bernoulli(torch.sigmoid(logits.detach()), generator=generator)
        surprise = binary_cross_entropy_with_logits(logits, labels, reduction="sum")
        gradients = torch.autograd.grad(surprise, list(network.parameters()))
        for total, gradient in zip(fisher.values(), gradients, strict=True):
            total.add_(gradient.square() / (labels[0, 0].numel() * len(images)))
    return fisher


def blank_fisher(setting: Setting) -> dict[str, Tensor]:
    """Return a diagonal on torch's meta device: names, dtypes and shapes without values."""
    with torch.device("meta"):
        return {name: value.detach() for name, value in build_segmenter(setting).named_parameters()}
