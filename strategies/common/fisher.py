"""The diagonal of a segmenter's Fisher information: how much each parameter matters to what it predicts."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from strategies.common.importance import no_importance


def fisher_diagonal(network: nn.Module, images: Tensor, seed: int) -> dict[str, Tensor]:
    """Return the diagonal per pixel and structure, a value for each parameter, over images float32 [N, C, H, W].

    A mean over slices of squared gradients of the log-likelihood, divided by the entries of a mask, since the training
    loss is a mean over them too. Labels are drawn from the network's own prediction, one set a slice, as the Fisher
    information has them (true labels would give the empirical one).
    """
    generator = torch.Generator().manual_seed(seed)
    fisher = no_importance(network)
    network.eval()
    for image in images:
        logits = network(image[None])
        labels = torch.bernoulli(torch.sigmoid(logits.detach()), generator=generator)
        surprise = binary_cross_entropy_with_logits(logits, labels, reduction="sum")
        gradients = torch.autograd.grad(surprise, list(network.parameters()))
        for total, gradient in zip(fisher.values(), gradients, strict=True):
            total.add_(gradient.square() / (labels.numel() * len(images)))
    return fisher
