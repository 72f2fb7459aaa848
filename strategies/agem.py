"""A-GEM: where a step would raise the loss on exemplars of earlier sites, its rise is projected out.

Chaudhry et al., "Efficient Lifelong Learning with A-GEM", ICLR 2019, eq. 11. With g the gradient on a batch of the
newest site and r that on a batch of exemplars,

    g' = g                          where g . r >= 0
    g' = g - (g . r) / (r . r) r    where it is not

so that g' . r >= 0: to first order the exemplars' loss does not rise. The optimizer is the one that all methods have
(AdamW), and takes g' for the gradient; the paper's is plain gradient descent, for which the bound is exact.

Each site leaves `exemplars` of its slices, real images with labels: this needs `policy: reference-only`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sites.seeds import seed_of
from sites.stream import Arrival
from sites.vault import Vault
from strategies import Strategy
from strategies.common.exemplar_relay import (
    Broadcast,
    ExemplarConfig,
    ExemplarServer,
    Upload,
    blank_broadcast,
    blank_upload,
    rows_of,
)
from strategies.common.exemplars import padded, rehearsals
from strategies.common.segmenter import (
    Descent,
    build_segmenter,
    descent_of,
    minibatches,
    segmentation_loss,
    slices_of,
)
from strategies.setting import Setting


class Config(ExemplarConfig):
    """Settings of A-GEM: `exemplars` is the number of slices kept of each site (0: fine-tuning)."""


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the segmenter on the current cases and the exemplars; then choose the site's own exemplars."""
    network = build_segmenter(setting)
    network.load_state_dict(dict(down.segmenter))
    images, masks = slices_of(arrival.cases)
    iterations = setting.budget.iterations_a_round(len(images))
    held = int(down.counts.sum())
    memory = rehearsals(setting, down.images[:held], down.masks[:held], iterations, seed_of(arrival.seed, "memory"))
    descent = descent_of(network, setting, iterations)
    network.train()
    current = minibatches(setting, images, masks, iterations, arrival.seed)
    for (some, their_masks), (old, old_masks) in zip(current, memory, strict=True):
        gradient = gradient_of(network, some, their_masks)
        step(network, project(gradient, gradient_of(network, old, old_masks)) if held else gradient, descent)
    last = arrival.round == setting.budget.rounds
    rows = rows_of(config, setting)
    chosen = torch.randperm(len(images))[: rows if last else 0]
    return Upload(
        segmenter=dict(network.state_dict()),
        images=padded(images[chosen], rows),
        masks=padded(masks[chosen], rows),
        held=torch.tensor([len(chosen)]),
    )


def gradient_of(network: nn.Module, images: Tensor, masks: Tensor) -> list[Tensor]:
    """Return the gradient of the segmentation loss on a batch, in the order of `network.parameters()`."""
    return list(torch.autograd.grad(segmentation_loss(network(images), masks), list(network.parameters())))


def project(gradient: Sequence[Tensor], reference: Sequence[Tensor]) -> list[Tensor]:
    """Return g' of the paper: a gradient without its part against a reference gradient, over all parameters at once."""
    inner = torch.stack([(g * r).sum() for g, r in zip(gradient, reference, strict=True)]).sum()
    if inner >= 0:
        return list(gradient)
    square = torch.stack([r.square().sum() for r in reference]).sum()
    return [g - inner / square * r for g, r in zip(gradient, reference, strict=True)]


def step(network: nn.Module, gradient: Sequence[Tensor], descent: Descent) -> None:
    """Take one step of the optimizer along a given gradient."""
    for parameter, value in zip(network.parameters(), gradient, strict=True):
        parameter.grad = value
    optimizer, schedule = descent
    optimizer.step()
    schedule.step()


STRATEGY = Strategy(
    family="replay",
    config=Config,
    server=ExemplarServer,
    learn=learn,
    blank_broadcast=blank_broadcast,
    blank_upload=blank_upload,
)
