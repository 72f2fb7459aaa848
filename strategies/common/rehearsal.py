"""Training on a site's slices and on replays of the sites before it, a half of each batch from either."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sites.seeds import seed_of
from sites.stream import Arrival
from sites.wire import Weights
from strategies.common.alignment import Batch, Domain
from strategies.common.exemplars import rehearsals
from strategies.common.segmenter import (
    build_segmenter,
    descend,
    descent_of,
    minibatches,
    segmentation_loss,
    slices_of,
)
from strategies.setting import Setting

Held = Callable[[Tensor, Batch], Tensor]


def train_rehearsing(
    weights: Weights, setting: Setting, arrival: Arrival, past: Sequence[Domain], held: Held
) -> dict[str, Tensor]:
    """Train a segmenter, given by its weights, for one round; return its new weights.

    The loss is that of the site's slices plus `held`, which is called with the logits [N, S, H, W] of a batch of
    replays and that batch. Without any replays this is fine-tuning, bit for bit.
    """
    network = build_segmenter(setting)
    network.load_state_dict(dict(weights))
    iterations = setting.budget.iterations_a_round(len(slices_of(arrival.cases)[0]))
    descent = descent_of(network, setting, iterations)
    network.train()
    for now, before in halves(setting, arrival, past, iterations):
        new, old = network(torch.cat([now.images, before.images])).split([len(now.images), len(before.images)])
        loss = segmentation_loss(new, now.masks)
        if len(old):
            loss = loss + held(old, before)
        descend(loss, descent)
    return dict(network.state_dict())


def by_its_masks(logits: Tensor, replays: Batch) -> Tensor:
    """Return the segmentation loss of a batch of replays against the masks that they came with."""
    return segmentation_loss(logits, replays.masks)


def halves(
    setting: Setting, arrival: Arrival, past: Sequence[Domain], iterations: int
) -> Iterator[tuple[Batch, Batch]]:
    """Yield batches in two halves: slices of the arrival, and replays. Without replays the first half is the whole."""
    images, masks = slices_of(arrival.cases)
    old_images = torch.cat([images[:0], *(domain.images for domain in past)])
    old_masks = torch.cat([masks[:0], *(domain.masks.to(masks.dtype) for domain in past)])
    if past:
        half = max(1, setting.budget.batch // 2)
        setting = replace(setting, budget=setting.budget.model_copy(update={"batch": half}))
    current = minibatches(setting, images, masks, iterations, arrival.seed)
    replayed = rehearsals(setting, old_images, old_masks, iterations, seed_of(arrival.seed, "rehearsal"))
    for now, before in zip(current, replayed, strict=True):
        yield Batch(*now), Batch(*before)
