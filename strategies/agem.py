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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from sites.seeds import seed_of
from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Kind, Payload, Weights
from strategies import Server, State, Strategy, StrategyConfig
from strategies.common.exemplars import Buffer, blank_rows, padded, rehearsals
from strategies.common.segmenter import (
    Descent,
    blank_segmenter,
    build_segmenter,
    descent_of,
    minibatches,
    segmentation_loss,
    slices_of,
)
from strategies.common.turns import Turns
from strategies.setting import Setting


class Config(StrategyConfig):
    """Settings of A-GEM: `exemplars` is the number of slices kept of each site (0: fine-tuning)."""

    exemplars: int = Field(default=16, ge=0)


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: the segmenter, the exemplars, and how many of each site."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    images: Annotated[Tensor, Kind.IMAGE]
    masks: Annotated[Tensor, Kind.LABEL]
    counts: Annotated[Tensor, Kind.COUNT]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: the segmenter, and in a step's last round its exemplars.

    images: float32 [rows, channels, height, width]; masks: uint8 [rows, structures, height, width];
    held: int64 [1], the number of rows that are not blank
    """

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    images: Annotated[Tensor, Kind.IMAGE]
    masks: Annotated[Tensor, Kind.LABEL]
    held: Annotated[Tensor, Kind.LABEL]


class AgemServer(Server[Broadcast, Upload]):
    """Passes the segmenter from one site to the next, and keeps the exemplars."""

    def __init__(self, config: Config, setting: Setting) -> None:
        self._segmenter = build_segmenter(setting)
        self._sites = setting.sites
        self._exemplars = config.exemplars
        self._buffer = Buffer(blank_rows(setting.shape, config.exemplars * len(setting.sites), "cpu"), setting.sites)
        self._turns = Turns(setting)

    def rota(self, arriving: tuple[str, ...], online: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Sites that arrive in one step learn one after another."""
        return tuple((site,) for site in arriving)

    def broadcast(self, site: str, step: int) -> Broadcast:
        return Broadcast(
            segmenter=self._segmenter.state_dict(),
            **self._buffer.padded(),
            counts=self._buffer.counts(),
        )

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        for site, upload in uploads.items():
            self._segmenter.load_state_dict(dict(upload.segmenter))
            if self._turns.take(site):
                held = int(upload.held)
                self._buffer.thin_sites([self._exemplars - (held if one == site else 0) for one in self._sites])
                self._buffer.add(site, {"images": upload.images[:held], "masks": upload.masks[:held]})

    def predictor(self, site: str) -> nn.Module:
        return self._segmenter

    def state_dict(self) -> State:
        return {
            **self._segmenter.state_dict(prefix="segmenter/"),
            **self._buffer.state_dict(),
            **self._turns.state_dict(),
        }

    def load_state_dict(self, state: State) -> None:
        prefix = "segmenter/"
        self._segmenter.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        self._buffer.load_state_dict(state)
        self._turns.load_state_dict(state)


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


def rows_of(config: Config, setting: Setting) -> int:
    """Return how many exemplars a site can release in one step."""
    return min(config.exemplars, setting.most_cases * setting.shape.slices)


def blank_broadcast(config: Config, setting: Setting) -> Broadcast:
    """Return a broadcast without values."""
    return Broadcast(
        segmenter=blank_segmenter(setting),
        **blank_rows(setting.shape, config.exemplars * len(setting.sites)),
        counts=torch.zeros(len(setting.sites), dtype=torch.int64, device="meta"),
    )


def blank_upload(config: Config, setting: Setting, first: bool) -> Upload:
    """Return an upload without values."""
    return Upload(
        segmenter=blank_segmenter(setting),
        **blank_rows(setting.shape, rows_of(config, setting)),
        held=torch.zeros(1, dtype=torch.int64, device="meta"),
    )


STRATEGY = Strategy(
    family="replay",
    config=Config,
    server=AgemServer,
    learn=learn,
    blank_broadcast=blank_broadcast,
    blank_upload=blank_upload,
)
