"""A segmenter that goes from site to site, held by what mattered: messages and server of EWC, SI and MAS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

from torch import nn

from sites.wire import Kind, Payload, Weights
from strategies import State, StrategyConfig
from strategies.common.importance import Anchor, blank_parameters, parameters_of
from strategies.common.normalization import SiteStatistics, Statistics
from strategies.common.segmenter import blank_segmenter, build_segmenter
from strategies.common.sequence import SequentialServer
from strategies.common.state import part_of
from strategies.common.turns import Turns
from strategies.setting import Setting

Add = Callable[[Anchor, Weights, Weights], None]


class AnchoredConfig(StrategyConfig):
    """Settings of methods that hold parameters: `statistics` says whose running statistics batch norm has."""

    statistics: Statistics = "own"


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: the segmenter, the parameters to stay near, and how much each matters."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    anchor: Annotated[Weights, Kind.SEGMENTER]
    importance: Annotated[Weights, Kind.GRADIENT]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: the segmenter, and what matters to it (zeros before a step's last round)."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    importance: Annotated[Weights, Kind.GRADIENT]


def accumulate(anchor: Anchor, weights: Weights, importance: Weights) -> None:
    """Hold parameters where the newest site left them, as firmly as all sites together say."""
    anchor.weights = dict(weights)
    for name, value in importance.items():
        anchor.importance[name] = anchor.importance[name] + value


class AnchoredServer(SequentialServer[Broadcast, Upload]):
    """Passes the segmenter from one site to the next, and adds each to what holds it.

    add: takes a site's parameters and what matters to it into the anchor
    """

    def __init__(self, config: AnchoredConfig, setting: Setting, add: Add = accumulate) -> None:
        self._add = add
        self._segmenter = build_segmenter(setting)
        self._anchor = Anchor(self._segmenter)
        self._statistics = SiteStatistics(self._segmenter, setting, config.statistics)
        self._turns = Turns(setting)

    def broadcast(self, site: str, step: int) -> Broadcast:
        return Broadcast(
            segmenter=self._segmenter.state_dict(), anchor=self._anchor.weights, importance=self._anchor.importance
        )

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        for site, upload in uploads.items():
            self._segmenter.load_state_dict(dict(upload.segmenter))
            self._statistics.keep(site, upload.segmenter)
            if self._turns.take(site):
                self._add(self._anchor, parameters_of(self._segmenter), upload.importance)

    def predictor(self, site: str) -> nn.Module:
        return self._statistics.segmenter_for(site)

    def state_dict(self) -> State:
        return {
            **self._segmenter.state_dict(prefix="segmenter/"),
            **self._anchor.state_dict(),
            **self._statistics.state_dict(),
            **self._turns.state_dict(),
        }

    def load_state_dict(self, state: State) -> None:
        self._segmenter.load_state_dict(part_of(state, "segmenter/"))
        self._anchor.load_state_dict(state)
        self._statistics.load_state_dict(state)
        self._turns.load_state_dict(state)


def blank_broadcast(config: StrategyConfig, setting: Setting) -> Broadcast:
    """Return a broadcast without values."""
    return Broadcast(
        segmenter=blank_segmenter(setting), anchor=blank_parameters(setting), importance=blank_parameters(setting)
    )


def blank_upload(config: StrategyConfig, setting: Setting, first: bool) -> Upload:
    """Return an upload without values."""
    return Upload(segmenter=blank_segmenter(setting), importance=blank_parameters(setting))
