"""One segmenter that goes from site to site: messages and server of the methods that differ in how a site trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from torch import nn

from sites.wire import Kind, Payload, Weights
from strategies import State, StrategyConfig
from strategies.common.segmenter import blank_segmenter, build_segmenter
from strategies.common.sequence import SequentialServer
from strategies.setting import Setting


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: the segmenter."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: the segmenter, trained on."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]


class RelayServer(SequentialServer[Broadcast, Upload]):
    """Passes the segmenter from one site to the next, as fine-tuning does."""

    def __init__(self, config: StrategyConfig, setting: Setting) -> None:
        self._segmenter = build_segmenter(setting)

    def broadcast(self, site: str, step: int) -> Broadcast:
        return Broadcast(segmenter=self._segmenter.state_dict())

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        for upload in uploads.values():
            self._segmenter.load_state_dict(dict(upload.segmenter))

    def predictor(self, site: str) -> nn.Module:
        return self._segmenter

    def state_dict(self) -> State:
        return dict(self._segmenter.state_dict())

    def load_state_dict(self, state: State) -> None:
        self._segmenter.load_state_dict(state)


def blank_broadcast(config: StrategyConfig, setting: Setting) -> Broadcast:
    """Return a broadcast without values."""
    return Broadcast(segmenter=blank_segmenter(setting))


def blank_upload(config: StrategyConfig, setting: Setting, first: bool) -> Upload:
    """Return an upload without values."""
    return Upload(segmenter=blank_segmenter(setting))
