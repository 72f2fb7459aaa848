"""A segmenter that goes from site to site with exemplars of each: messages and server of A-GEM and PGA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from sites.wire import Kind, Payload, Weights
from strategies import State, StrategyConfig
from strategies.common.exemplars import Buffer, blank_rows
from strategies.common.segmenter import blank_segmenter, build_segmenter
from strategies.common.sequence import SequentialServer
from strategies.common.state import part_of
from strategies.common.turns import Turns
from strategies.setting import Setting


class ExemplarConfig(StrategyConfig):
    """Settings of methods with exemplars: `exemplars` is the number of slices kept of each site."""

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


class ExemplarServer(SequentialServer[Broadcast, Upload]):
    """Passes the segmenter from one site to the next, and keeps the exemplars."""

    def __init__(self, config: ExemplarConfig, setting: Setting) -> None:
        self._segmenter = build_segmenter(setting)
        self._sites = setting.sites
        self._exemplars = config.exemplars
        self._buffer = Buffer(blank_rows(setting.shape, config.exemplars * len(setting.sites), "cpu"), setting.sites)
        self._turns = Turns(setting)

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
        self._segmenter.load_state_dict(part_of(state, "segmenter/"))
        self._buffer.load_state_dict(state)
        self._turns.load_state_dict(state)


def rows_of(config: ExemplarConfig, setting: Setting) -> int:
    """Return how many exemplars a site can release in one step."""
    return min(config.exemplars, setting.most_cases * setting.shape.slices)


def blank_broadcast(config: ExemplarConfig, setting: Setting) -> Broadcast:
    """Return a broadcast without values."""
    return Broadcast(
        segmenter=blank_segmenter(setting),
        **blank_rows(setting.shape, config.exemplars * len(setting.sites)),
        counts=torch.zeros(len(setting.sites), dtype=torch.int64, device="meta"),
    )


def blank_upload(config: ExemplarConfig, setting: Setting, first: bool) -> Upload:
    """Return an upload without values."""
    return Upload(
        segmenter=blank_segmenter(setting),
        **blank_rows(setting.shape, rows_of(config, setting)),
        held=torch.zeros(1, dtype=torch.int64, device="meta"),
    )
