"""Parallel gradient alignment over real exemplars: what SMDR does with replays, done with the images themselves.

The setting of SMDR's predecessor: Zhang et al., "Learning towards Synchronous Network Memorizability and
Generalizability for Continual Segmentation across Multiple Sites", MICCAI 2022 (arXiv 2206.06813). Each site leaves a
few exemplars, and the next one aligns the gradient on its own cases with those on the exemplars of the sites before it.
The alignment is that of `strategies/common/alignment.py`, our reconstruction; exemplars are drawn at random, where the
paper also picks them for their diversity between sites.

Exemplars are real images with labels, so this needs `policy: reference-only`: it shows what generated replays cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Kind, Payload, Weights
from strategies import Server, State, Strategy, StrategyConfig
from strategies.common.alignment import AlignmentConfig, Domain, train_aligned
from strategies.common.exemplars import Buffer, blank_rows, padded
from strategies.common.segmenter import blank_segmenter, build_segmenter, segmentation_loss, slices_of
from strategies.common.turns import Turns
from strategies.setting import Setting


class Config(StrategyConfig):
    """Settings: `exemplars` is the number of slices kept of each site, `alignment` which terms are on.

    Without exemplars, and with both terms off, this is fine-tuning on slices drawn with replacement.
    """

    exemplars: int = Field(default=16, ge=0)
    alignment: AlignmentConfig = AlignmentConfig()


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


class PgaExemplarServer(Server[Broadcast, Upload]):
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
    """Train the segmenter on the current cases, aligned with the exemplars; then choose the site's own exemplars."""
    network = build_segmenter(setting)
    network.load_state_dict(dict(down.segmenter))
    images, masks = slices_of(arrival.cases)
    budget = setting.budget
    train_aligned(
        network,
        segmentation_loss,
        Domain(images, masks.float()),
        past_of(down),
        config.alignment,
        optimizer=torch.optim.AdamW(network.parameters(), lr=budget.learning_rate),
        iterations=budget.iterations_a_round(len(images)),
        batch=budget.batch,
        augmentation=setting.augmentation,
        seed=arrival.seed,
    )
    last = arrival.round == budget.rounds
    rows = rows_of(config, setting)
    chosen = torch.randperm(len(images))[: rows if last else 0]
    return Upload(
        segmenter=dict(network.state_dict()),
        images=padded(images[chosen], rows),
        masks=padded(masks[chosen], rows),
        held=torch.tensor([len(chosen)]),
    )


def past_of(down: Broadcast) -> list[Domain]:
    """Return the exemplars that came down, a domain for each site that left some (the learning one's own too)."""
    ends = down.counts.cumsum(0).tolist()
    parts = [slice(end - count, end) for end, count in zip(ends, down.counts.tolist(), strict=True) if count]
    return [Domain(down.images[part], down.masks[part].float()) for part in parts]


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
    server=PgaExemplarServer,
    learn=learn,
    blank_broadcast=blank_broadcast,
    blank_upload=blank_upload,
)
