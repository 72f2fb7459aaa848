"""The segmentation network: how to build it, and train it on slices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import lru_cache

import torch
from monai.losses import DiceLoss
from monai.networks.nets import UNet
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from sites.privacy import PrivateTraining
from sites.seeds import torch_seeded
from sites.stream import Arrival, Case
from sites.wire import Weights
from strategies.common.augmentation import Augmenter
from strategies.setting import Setting


def build_segmenter(setting: Setting) -> nn.Module:
    """Build the network of a setting, its initial weights drawn from the run's seed.

    Takes images [N, channels, H, W] in 0..1, returns logits [N, structures, H, W].
    """
    widths = setting.network.widths
    with torch_seeded(setting.seed):
        network: nn.Module = UNet(
            spatial_dims=2,
            in_channels=setting.shape.channels,
            out_channels=len(setting.shape.structures),
            channels=widths,
            strides=(2,) * (len(widths) - 1),
            num_res_units=setting.network.residual_units,
            norm=setting.network.norm,
            dropout=setting.network.dropout,
        )
    return network


def blank_segmenter(setting: Setting) -> dict[str, Tensor]:
    """Return the segmenter's weights on torch's meta device: names, dtypes and shapes without values."""
    return dict(_blank(replace(setting, seed=0)))


@lru_cache(maxsize=32)
def _blank(setting: Setting) -> Weights:
    with torch.device("meta"):
        return dict(build_segmenter(setting).state_dict())


def slices_of(cases: Iterable[Case]) -> tuple[Tensor, Tensor]:
    """Stack the slices of cases: images float32 [N, C, H, W] and masks uint8 [N, S, H, W]."""
    chosen = list(cases)
    return torch.cat([case.images for case in chosen]), torch.cat([case.masks for case in chosen])


def segmentation_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Return Dice loss plus cross-entropy, each structure by itself: logits and masks float32 [N, S, H, W].

    MONAI's DiceCELoss would take a softmax across structures for the cross-entropy, but structures may overlap.
    """
    dice: Tensor = DiceLoss(sigmoid=True)(logits, masks)
    return dice + binary_cross_entropy_with_logits(logits, masks)


Descent = tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]


def descent_of(network: nn.Module, setting: Setting, iterations: int) -> Descent:
    """Return AdamW over a network's parameters, and a learning rate that falls along a half cosine to zero."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=setting.budget.learning_rate, fused=True)
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)


def descend(loss: Tensor, descent: Descent) -> None:
    """Take one gradient step down a loss."""
    optimizer, schedule = descent
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()
    schedule.step()


def minibatches(
    setting: Setting, images: Tensor, masks: Tensor, iterations: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield `iterations` augmented batches: images float32 [N, C, H, W] in 0..1, masks float32 [N, S, H, W].

    Slices are drawn without replacement within a pass over them all.
    """
    augmenter = Augmenter(setting.augmentation, seed)
    for rows in batches(len(images), setting.budget.batch, iterations, seed):
        yield augmenter(images[rows], masks[rows])


def train_segmenter(
    network: nn.Module, setting: Setting, images: Tensor, masks: Tensor, *, iterations: int, seed: int
) -> float:
    """Train a network in place on `segmentation_loss`, as a setting says; return the last loss."""
    descent, last = descent_of(network, setting, iterations), 0.0
    network.train()
    for some, their_masks in minibatches(setting, images, masks, iterations, seed):
        loss = segmentation_loss(network(some), their_masks)
        descend(loss, descent)
        last = float(loss.detach())
    return last


def train_on_arrival(weights: Weights, setting: Setting, arrival: Arrival) -> Weights:
    """Train a segmenter, given by its weights, for one round on a site's current cases; return its new weights.

    Where the site asks for differential privacy, it is trained by DP-SGD.
    """
    network = build_segmenter(setting)
    network.load_state_dict(dict(weights))
    images, masks = slices_of(arrival.cases)
    iterations = setting.budget.iterations_a_round(len(images))
    if arrival.privacy is None:
        train_segmenter(network, setting, images, masks, iterations=iterations, seed=arrival.seed)
    else:
        _train_privately(network, setting, images, masks, arrival.privacy, iterations=iterations, seed=arrival.seed)
    return dict(network.state_dict())


def _train_privately(
    network: nn.Module,
    setting: Setting,
    images: Tensor,
    masks: Tensor,
    privacy: PrivateTraining,
    *,
    iterations: int,
    seed: int,
) -> None:
    from strategies.common.private import descend_privately

    optimizer, schedule = descent_of(network, setting, iterations)
    augmenter = Augmenter(setting.augmentation, seed)

    def loss(answer: Callable[..., Tensor], image: Tensor, mask: Tensor) -> Tensor:
        return segmentation_loss(answer(image[None]), mask[None])

    def batch(rows: Tensor) -> tuple[Tensor, ...]:
        return augmenter(images[rows], masks[rows])

    network.train()
    session = privacy.begin(setting.budget.batch, iterations)
    for _ in descend_privately(network, optimizer, loss, batch, session):
        schedule.step()


def batches(count: int, batch: int, iterations: int, seed: int) -> Iterable[Tensor]:
    """Yield `iterations` index batches [<= batch] over `count` rows, reshuffled at each pass."""
    generator = torch.Generator().manual_seed(seed)
    size = min(batch, count)
    order = torch.empty(0, dtype=torch.long)
    for _ in range(iterations):
        if len(order) < size:
            order = torch.randperm(count, generator=generator)
        yield order[:size]
        order = order[size:]
