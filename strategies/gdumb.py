"""GDumb: keep a buffer that is balanced over sites, and train from scratch on nothing else.

Prabhu et al., "GDumb: A Simple Approach that Questions Our Progress in Continual Learning", ECCV 2020. The greedy
sampler balances classes there, and sites here: while there is room a slice is kept; after that only slices of a site
that has fewer than the fullest one, which gives up one of its own. After every step the server trains a new network on
the buffer, with the budget of one arrival for every arrival so far, as `joint` does. Nothing goes on from the segmenter
before, so there is no fine-tuning in it to fall back to: with a buffer for every slice this is joint training.

Nothing leaves but exemplars: real images with labels, so this needs `policy: reference-only`.
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
from sites.wire import Kind, Payload
from strategies import Server, State, Strategy, StrategyConfig
from strategies.common.exemplars import Buffer, balanced_counts, blank_rows, padded
from strategies.common.segmenter import build_segmenter, slices_of, train_segmenter
from strategies.common.state import part_of
from strategies.setting import Setting


class Config(StrategyConfig):
    """Settings of GDumb: `buffer` is the number of slices kept of all sites together."""

    buffer: int = Field(default=64, ge=1)


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: how many slices of each site are held."""

    counts: Annotated[Tensor, Kind.COUNT]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: in a step's first round, the slices that the sampler takes.

    images: float32 [rows, channels, height, width]; masks: uint8 [rows, structures, height, width];
    held: int64 [1], the number of rows that are not blank
    """

    images: Annotated[Tensor, Kind.IMAGE]
    masks: Annotated[Tensor, Kind.LABEL]
    held: Annotated[Tensor, Kind.LABEL]


class GdumbServer(Server[Broadcast, Upload]):
    """Keeps the buffer, and trains on it from scratch."""

    def __init__(self, config: Config, setting: Setting) -> None:
        self._setting = setting
        self._size = config.buffer
        self._segmenter = build_segmenter(setting)
        self._buffer = Buffer(blank_rows(setting.shape, config.buffer, "cpu"), setting.sites)
        self._rounds = 0
        self._arrivals = 0

    def broadcast(self, site: str, step: int) -> Broadcast:
        return Broadcast(counts=self._buffer.counts())

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        """Fill the buffer in the first round of a step, and train; the later rounds bring nothing new."""
        self._rounds += 1
        if (self._rounds - 1) % self._setting.budget.rounds:
            return
        held = self._buffer.counts().tolist()
        counts = held
        for site, upload in uploads.items():
            counts = balanced_counts(counts, self._setting.sites.index(site), int(upload.held), self._size)
        self._buffer.thin_sites(counts)
        for site, upload in uploads.items():
            row = self._setting.sites.index(site)
            taken = max(0, counts[row] - held[row])
            self._buffer.add(site, {"images": upload.images[:taken], "masks": upload.masks[:taken]})
        self._arrivals += len(uploads)
        self._train(step)

    def _train(self, step: int) -> None:
        self._segmenter = build_segmenter(self._setting)
        an_arrival = self._setting.budget.iterations_an_arrival(-(-len(self._buffer) // self._arrivals))
        train_segmenter(
            self._segmenter,
            self._setting,
            **self._buffer.rows(),
            iterations=self._arrivals * an_arrival,
            seed=seed_of(self._setting.seed, "gdumb", step),
        )

    def predictor(self, site: str) -> nn.Module:
        return self._segmenter

    def state_dict(self) -> State:
        return {
            **self._segmenter.state_dict(prefix="segmenter/"),
            **self._buffer.state_dict(),
            "rounds": torch.tensor(self._rounds),
            "arrivals": torch.tensor(self._arrivals),
        }

    def load_state_dict(self, state: State) -> None:
        self._segmenter.load_state_dict(part_of(state, "segmenter/"))
        self._buffer.load_state_dict(state)
        self._rounds, self._arrivals = int(state["rounds"]), int(state["arrivals"])


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Choose, at random, as many slices as the sampler would take."""
    images, masks = slices_of(arrival.cases)
    row, held = setting.sites.index(arrival.site), down.counts.tolist()
    offered = len(images) if arrival.round == 1 else 0
    taken = balanced_counts(held, row, offered, config.buffer)[row] - held[row]
    chosen = torch.randperm(len(images))[:taken]
    rows = rows_of(config, setting)
    return Upload(
        images=padded(images[chosen], rows), masks=padded(masks[chosen], rows), held=torch.tensor([len(chosen)])
    )


def rows_of(config: Config, setting: Setting) -> int:
    """Return how many slices a site can release in one step."""
    return min(config.buffer, setting.most_cases * setting.shape.slices)


def blank_upload(config: Config, setting: Setting, first: bool) -> Upload:
    """Return an upload without values."""
    return Upload(
        **blank_rows(setting.shape, rows_of(config, setting)),
        held=torch.zeros(1, dtype=torch.int64, device="meta"),
    )


STRATEGY = Strategy(
    family="replay",
    config=Config,
    server=GdumbServer,
    learn=learn,
    blank_broadcast=lambda config, setting: Broadcast(
        counts=torch.zeros(len(setting.sites), dtype=torch.int64, device="meta")
    ),
    blank_upload=blank_upload,
)
