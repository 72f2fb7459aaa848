"""Gradient inversion: images whose gradient is the one that left a site.

After Geiping et al., "Inverting gradients - how easy is it to break privacy in federated learning?", NeurIPS 2020:
images are moved, by the sign of Adam's gradients, until their own gradient points the way of the one that left;
total variation keeps them smooth. The attacker holds the network that came down and knows the loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from strategies.common.segmenter import segmentation_loss

RATE = 0.05
SMOOTHNESS = 0.01
MILESTONES = (3 / 8, 5 / 8, 7 / 8)
# Of a tensor's mean size: below it AdamW's first step is taken for proportional to the gradient, above it for its sign.
SOFTNESS = 0.3


@dataclass(frozen=True, kw_only=True)
class Update:
    """What left: a gradient by parameter name, or, where `first_step`, what one step of AdamW subtracted.

    AdamW's first step is the same size for every parameter, and so tells the gradient's signs alone.
    """

    values: Mapping[str, Tensor]
    first_step: bool


def gradient_of(
    network: nn.Module, images: Tensor, masks: Tensor, *, differentiable: bool = False
) -> dict[str, Tensor]:
    """Return the gradient of `segmentation_loss` on images [N, C, H, W] with masks float32 [N, S, H, W]."""
    parameters = dict(network.named_parameters())
    loss = segmentation_loss(network(images), masks)
    gradients = torch.autograd.grad(loss, list(parameters.values()), create_graph=differentiable)
    return dict(zip(parameters, gradients, strict=True))


def invert(
    network: nn.Module, update: Update, size: tuple[int, ...], *, seed: int, steps: int, masks: Tensor | None = None
) -> Tensor:
    """Return images of a size [N, C, H, W] in 0..1 whose gradient on a network points the way of an update.

    Masks [N, S, H, W] are given, or else sought together with the images.
    """
    draws = torch.Generator().manual_seed(seed)
    images = (0.5 + 0.1 * torch.randn(size, generator=draws)).clamp(0, 1).requires_grad_()
    network.train()
    guess = torch.zeros_like(network(images).detach()).requires_grad_()
    moved = [images, guess] if masks is None else [images]
    optimizer = torch.optim.Adam(moved, lr=RATE)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [round(steps * share) for share in MILESTONES])
    for _ in range(steps):
        optimizer.zero_grad()
        wanted = guess.sigmoid() if masks is None else masks
        found = gradient_of(network, images, wanted, differentiable=True)
        torch.autograd.backward(_distance(found, update) + SMOOTHNESS * _variation(images), inputs=moved)
        assert images.grad is not None
        images.grad.sign_()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            images.clamp_(0, 1)
    return images.detach()


def _distance(found: Mapping[str, Tensor], update: Update) -> Tensor:
    """Return one less the cosine of a gradient with the update."""
    seen = {name: _first_step(found[name]) if update.first_step else found[name] for name in update.values}
    pairs = [(seen[name], left) for name, left in update.values.items()]
    product = torch.stack([(one * other).sum() for one, other in pairs]).sum()
    sizes = [torch.stack([part.square().sum() for part in parts]).sum().sqrt() for parts in zip(*pairs, strict=True)]
    return 1 - product / (sizes[0] * sizes[1]).clamp(min=1e-12)


def _first_step(gradient: Tensor) -> Tensor:
    """Return the direction of AdamW's first step, made smooth: near +1 or -1 where the gradient is not small."""
    softness = SOFTNESS * gradient.detach().abs().mean()
    return gradient / (gradient.abs() + softness).clamp(min=1e-20)


def _variation(images: Tensor) -> Tensor:
    """Return the mean total variation of images (Rudin, Osher and Fatemi, Physica D 1992; anisotropic)."""
    return images.diff(dim=-1).abs().mean() + images.diff(dim=-2).abs().mean()
