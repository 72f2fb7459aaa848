"""SWAD: average all the weights that training passes through in the valley of the validation loss.

Cha et al., "SWAD: Domain Generalization by Seeking Flat Minima", NeurIPS 2021, algorithm 1. With E_i the validation
loss at check i, the valley begins at the first check that none of the `optimum` checks from it on falls below, and ends
before `overfit` checks in a row all lie above `tolerance` times the mean loss of its beginning. It needs one site
alone: every fifth of its cases validates and is not trained on (a site with one case validates on that). Norms are
measured afresh on the training slices afterwards. The learning rate stays as it is, as in the paper, where every other
strategy's falls. The segmenter goes from site to site; with `average: false` this is fine-tuning on the cases that
train, at that rate.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from sites.stream import Arrival, Case
from sites.vault import Vault
from sites.wire import Weights
from strategies import Strategy, StrategyConfig
from strategies.common.relay import Broadcast, RelayServer, Upload, blank_broadcast, blank_upload
from strategies.common.segmenter import (
    build_segmenter,
    descend,
    minibatches,
    segmentation_loss,
    slices_of,
)
from strategies.setting import Setting


class Config(StrategyConfig):
    """Settings of SWAD: `checks` of the validation loss in a round, N_s, N_e and r of the paper."""

    average: bool = True
    checks: int = Field(default=30, ge=1)
    optimum: int = Field(default=3, ge=1)
    overfit: int = Field(default=3, ge=1)
    tolerance: float = Field(default=1.2, ge=1)


def valley(losses: Sequence[float], config: Config) -> tuple[int, int]:
    """Return the first and the last check of the valley; the last check alone where the loss falls to the end."""
    first, bound = None, 0.0
    for check in range(len(losses)):
        if first is None:
            recent = losses[max(0, check - config.optimum + 1) : check + 1]
            if len(recent) == config.optimum and recent[0] == min(recent):
                first, bound = check - config.optimum + 1, config.tolerance * sum(recent) / len(recent)
        else:
            recent = losses[max(first, check - config.overfit + 1) : check + 1]
            if len(recent) == config.overfit and min(recent) > bound:
                return first, max(first, check - config.overfit)
    return (len(losses) - 1 if first is None else first), len(losses) - 1


class Trail:
    """The weights that training passed through, averaged over the stretch before each check."""

    def __init__(self) -> None:
        self._stretches: list[dict[str, Tensor]] = []
        self._lengths: list[int] = []
        self._open: dict[str, Tensor] = {}
        self._count = 0

    def pass_through(self, network: nn.Module) -> None:
        """Take in the weights of one iteration."""
        weights = {name: value.detach().double() for name, value in network.named_parameters()}
        self._open = {name: self._open.get(name, 0.0) + value for name, value in weights.items()}
        self._count += 1

    def check(self) -> None:
        """Close a stretch."""
        self._stretches.append({name: (total / self._count).float() for name, total in self._open.items()})
        self._lengths.append(self._count)
        self._open, self._count = {}, 0

    def average(self, first: int, last: int) -> dict[str, Tensor]:
        """Return the mean weights of all iterations of the stretches from `first` to `last`, both included."""
        chosen = list(zip(self._stretches, self._lengths, strict=True))[first : last + 1]
        total = sum(length for _, length in chosen)
        names = self._stretches[first]
        return {name: torch.stack([part[name] * (length / total) for part, length in chosen]).sum(0) for name in names}


@torch.no_grad()
def validation_loss(network: nn.Module, images: Tensor, masks: Tensor) -> float:
    """Return the loss on slices [N, C, H, W] with masks [N, S, H, W], norms as they stand."""
    network.eval()
    loss = float(segmentation_loss(network(images), masks.float()))
    network.train()
    return loss


def measure_norms(network: nn.Module, weights: Weights, images: Tensor, batch: int) -> None:
    """Give a network other parameters, and let its batch norms measure the training slices anew."""
    network.load_state_dict(dict(weights), strict=False)
    update_bn(torch.split(images, batch), network)


def divided(cases: Sequence[Case]) -> tuple[Sequence[Case], Sequence[Case]]:
    """Return the cases to train on and those to validate on."""
    if len(cases) == 1:
        return cases, cases
    validating = cases[::5]
    return [case for row, case in enumerate(cases) if row % 5], validating


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the segmenter on the site's current slices, and release the mean over the valley."""
    network = build_segmenter(setting)
    network.load_state_dict(dict(down.segmenter))
    training, validating = divided(arrival.cases)
    images, masks = slices_of(training)
    unseen, their_masks = slices_of(validating)
    iterations = setting.budget.iterations_a_round(len(images) + len(unseen) * (validating is not training))
    optimizer = torch.optim.AdamW(network.parameters(), lr=setting.budget.learning_rate, fused=True)
    trail, losses = Trail(), []
    descent = optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    every = max(1, iterations // config.checks)
    network.train()
    for number, (some, labels) in enumerate(minibatches(setting, images, masks, iterations, arrival.seed), start=1):
        descend(segmentation_loss(network(some), labels), descent)
        if config.average:
            trail.pass_through(network)
        if config.average and (number % every == 0 or number == iterations):
            trail.check()
            losses.append(validation_loss(network, unseen, their_masks))
    if config.average:
        measure_norms(network, trail.average(*valley(losses, config)), images, setting.budget.batch)
    return Upload(segmenter=dict(network.state_dict()))


STRATEGY = Strategy(
    family="generalization",
    config=Config,
    server=RelayServer,
    learn=learn,
    blank_broadcast=blank_broadcast,
    blank_upload=blank_upload,
)
