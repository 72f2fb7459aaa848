"""Experience replay: every batch holds real slices of earlier sites beside those of the newest.

Chaudhry et al., "On Tiny Episodic Memories in Continual Learning", 2019 (arXiv 1902.10486), with their reservoir: a
buffer of fixed size in which every slice ever seen is kept with the same probability. A site trains on batches of its
own cases, each joined by a batch from the buffer that came down; it then releases the slices that the reservoir takes.

Exemplars are real images with their labels, so this needs `policy: reference-only`. No hospital would run it: it shows
what a method without stored images should reach.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from strategies.common.exemplars import Buffer, blank_rows, padded, rehearsals, reservoir_share
from strategies.common.segmenter import (
    blank_segmenter,
    build_segmenter,
    descend,
    descent_of,
    minibatches,
    segmentation_loss,
    slices_of,
)
from strategies.common.turns import Turns
from strategies.setting import Setting


class Config(StrategyConfig):
    """Settings of experience replay: `buffer` is the number of slices kept of all sites together (0: fine-tuning)."""

    buffer: int = Field(default=64, ge=0)


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: the segmenter, the exemplars, how many of each site, and how many slices went by."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    images: Annotated[Tensor, Kind.IMAGE]
    masks: Annotated[Tensor, Kind.LABEL]
    counts: Annotated[Tensor, Kind.COUNT]
    seen: Annotated[Tensor, Kind.COUNT]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: the segmenter, and in a step's last round its exemplars.

    images: float32 [rows, channels, height, width]; masks: uint8 [rows, structures, height, width];
    held: int64 [1], the number of rows that are not blank; slices: int64 [1], of how many they were drawn
    """

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    images: Annotated[Tensor, Kind.IMAGE]
    masks: Annotated[Tensor, Kind.LABEL]
    held: Annotated[Tensor, Kind.LABEL]
    slices: Annotated[Tensor, Kind.COUNT]


class ErServer(Server[Broadcast, Upload]):
    """Passes the segmenter from one site to the next, and keeps the reservoir."""

    def __init__(self, config: Config, setting: Setting) -> None:
        self._segmenter = build_segmenter(setting)
        self._size = config.buffer
        self._buffer = Buffer(blank_rows(setting.shape, config.buffer, "cpu"), setting.sites)
        self._seen = 0
        self._turns = Turns(setting)

    def rota(self, arriving: tuple[str, ...], online: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Sites that arrive in one step learn one after another."""
        return tuple((site,) for site in arriving)

    def broadcast(self, site: str, step: int) -> Broadcast:
        return Broadcast(
            segmenter=self._segmenter.state_dict(),
            **self._buffer.padded(),
            counts=self._buffer.counts(),
            seen=torch.tensor([self._seen]),
        )

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        for site, upload in uploads.items():
            self._segmenter.load_state_dict(dict(upload.segmenter))
            if self._turns.take(site):
                held = int(upload.held)
                self._buffer.thin(self._size - held)
                self._buffer.add(site, {"images": upload.images[:held], "masks": upload.masks[:held]})
                self._seen += int(upload.slices)

    def predictor(self, site: str) -> nn.Module:
        return self._segmenter

    def state_dict(self) -> State:
        return {
            **self._segmenter.state_dict(prefix="segmenter/"),
            **self._buffer.state_dict(),
            **self._turns.state_dict(),
            "seen": torch.tensor(self._seen),
        }

    def load_state_dict(self, state: State) -> None:
        prefix = "segmenter/"
        self._segmenter.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        self._buffer.load_state_dict(state)
        self._turns.load_state_dict(state)
        self._seen = int(state["seen"])


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
        logits = network(torch.cat([some, old]))
        descend(segmentation_loss(logits, torch.cat([their_masks, old_masks])), descent)
    last = arrival.round == setting.budget.rounds
    count = reservoir_share(int(down.seen), len(images), config.buffer) if last else 0
    chosen = torch.randperm(len(images))[:count]
    rows = rows_of(config, setting)
    return Upload(
        segmenter=dict(network.state_dict()),
        images=padded(images[chosen], rows),
        masks=padded(masks[chosen], rows),
        held=torch.tensor([count]),
        slices=torch.tensor([len(images)]),
    )


def rows_of(config: Config, setting: Setting) -> int:
    """Return how many exemplars a site can release in one step."""
    return min(config.buffer, setting.most_cases * setting.shape.slices)


def blank_broadcast(config: Config, setting: Setting) -> Broadcast:
    """Return a broadcast without values."""
    return Broadcast(
        segmenter=blank_segmenter(setting),
        **blank_rows(setting.shape, config.buffer),
        counts=torch.zeros(len(setting.sites), dtype=torch.int64, device="meta"),
        seen=torch.zeros(1, dtype=torch.int64, device="meta"),
    )


def blank_upload(config: Config, setting: Setting, first: bool) -> Upload:
    """Return an upload without values."""
    return Upload(
        segmenter=blank_segmenter(setting),
        **blank_rows(setting.shape, rows_of(config, setting)),
        held=torch.zeros(1, dtype=torch.int64, device="meta"),
        slices=torch.zeros(1, dtype=torch.int64, device="meta"),
    )


STRATEGY = Strategy(
    family="replay",
    config=Config,
    server=ErServer,
    learn=learn,
    blank_broadcast=blank_broadcast,
    blank_upload=blank_upload,
)
