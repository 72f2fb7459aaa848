"""A segmenter that goes from site to site beside the one before it, its teacher: the server of LwF and PLOP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from sites.wire import Kind, Payload, Weights
from strategies import State, StrategyConfig
from strategies.common.normalization import SiteStatistics, Statistics
from strategies.common.segmenter import blank_segmenter, build_segmenter
from strategies.common.sequence import SequentialServer
from strategies.common.state import part_of
from strategies.common.turns import Turns
from strategies.setting import Setting


class TeacherConfig(StrategyConfig):
    """Settings of methods with a teacher: `statistics` says whose running statistics batch norm has."""

    statistics: Statistics = "own"


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: the segmenter, the one that the last step left, and whether that has learnt at all."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    old: Annotated[Weights, Kind.SEGMENTER]
    learnt: Annotated[Tensor, Kind.COUNT]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: the segmenter."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]


class TeacherServer(SequentialServer[Broadcast, Upload]):
    """Passes the segmenter from one site to the next, and keeps it as the last site left it."""

    def __init__(self, config: TeacherConfig, setting: Setting) -> None:
        self._segmenter, self._old = build_segmenter(setting), build_segmenter(setting)
        self._statistics = SiteStatistics(self._segmenter, setting, config.statistics)
        self._turns = Turns(setting)

    def broadcast(self, site: str, step: int) -> Broadcast:
        return Broadcast(
            segmenter=self._segmenter.state_dict(),
            old=self._old.state_dict(),
            learnt=torch.tensor([self._turns.any_done], dtype=torch.uint8),
        )

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        for site, upload in uploads.items():
            self._segmenter.load_state_dict(dict(upload.segmenter))
            self._statistics.keep(site, upload.segmenter)
            if self._turns.take(site):
                self._old.load_state_dict(dict(upload.segmenter))

    def predictor(self, site: str) -> nn.Module:
        return self._statistics.segmenter_for(site)

    def state_dict(self) -> State:
        return {
            **self._segmenter.state_dict(prefix="segmenter/"),
            **self._old.state_dict(prefix="old/"),
            **self._statistics.state_dict(),
            **self._turns.state_dict(),
        }

    def load_state_dict(self, state: State) -> None:
        for prefix, network in (("segmenter/", self._segmenter), ("old/", self._old)):
            network.load_state_dict(part_of(state, prefix))
        self._statistics.load_state_dict(state)
        self._turns.load_state_dict(state)


def blank_broadcast(config: StrategyConfig, setting: Setting) -> Broadcast:
    """Return a broadcast without values."""
    return Broadcast(
        segmenter=blank_segmenter(setting),
        old=blank_segmenter(setting),
        learnt=torch.zeros(1, dtype=torch.uint8, device="meta"),
    )


def blank_upload(config: StrategyConfig, setting: Setting, first: bool) -> Upload:
    """Return an upload without values."""
    return Upload(segmenter=blank_segmenter(setting))
