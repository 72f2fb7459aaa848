"""The segmentation network: how to build it, and train it on slices."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from monai.losses import DiceLoss
from monai.networks.nets import UNet
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from sites.stream import Arrival, Case
from sites.wire import Weights
from strategies.setting import Setting


def build_segmenter(setting: Setting) -> nn.Module:
    """Build the network of a setting, its initial weights drawn from the run's seed.

    Takes images [N, channels, H, W] in 0..1, returns logits [N, structures, H, W].
    """
    widths = setting.network.widths
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.seed)
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


def train_segmenter(
    network: nn.Module,
    images: Tensor,
    masks: Tensor,
    *,
    iterations: int,
    batch: int,
    learning_rate: float,
    seed: int,
) -> float:
    """Train a network in place on `segmentation_loss` with AdamW; return the last loss.

    Batches are drawn without replacement within a pass over the slices. The learning rate falls along a
    half cosine to zero.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    network.train()
    last = 0.0
    for rows in batches(len(images), batch, iterations, seed):
        optimizer.zero_grad()
        loss = segmentation_loss(network(images[rows]), masks[rows].float())
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        last = float(loss.detach())
    return last


def train_on_arrival(weights: Weights, setting: Setting, arrival: Arrival) -> Weights:
    """Train a segmenter, given by its weights, for one round on a site's current cases; return its new weights."""
    network = build_segmenter(setting)
    network.load_state_dict(dict(weights))
    images, masks = slices_of(arrival.cases)
    budget = setting.budget
    train_segmenter(
        network,
        images,
        masks,
        iterations=budget.iterations_a_round(len(images)),
        batch=budget.batch,
        learning_rate=budget.learning_rate,
        seed=arrival.seed,
    )
    return dict(network.state_dict())


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
