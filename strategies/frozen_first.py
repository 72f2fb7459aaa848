"""The first step's sites train the segmenter, and it never changes again: a bound without forgetting or learning.

What a method scores above it on later sites is what it learnt from them; what fine-tuning scores below it on the first
site is what it forgot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import nn

from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Kind, Payload, Weights
from strategies import Server, State, Strategy, StrategyConfig
from strategies.common.segmenter import blank_segmenter, build_segmenter, train_on_arrival
from strategies.setting import Setting


class Config(StrategyConfig):
    """Settings of the bound: `steps` is how many steps may train, after which all stays as it is."""

    steps: int = Field(default=1, ge=1)


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: the segmenter."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: the segmenter, from a later site just as it came."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]


class FrozenFirstServer(Server[Broadcast, Upload]):
    """Passes the segmenter from one site to the next."""

    def __init__(self, config: Config, setting: Setting) -> None:
        self._segmenter = build_segmenter(setting)

    def rota(self, arriving: tuple[str, ...], online: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Sites that arrive in one step learn one after another."""
        return tuple((site,) for site in arriving)

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


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the segmenter in the first steps; later, give it back as it came."""
    if arrival.step > config.steps:
        return Upload(segmenter=down.segmenter)
    return Upload(segmenter=train_on_arrival(down.segmenter, setting, arrival))


STRATEGY = Strategy(
    family="bound",
    config=Config,
    server=FrozenFirstServer,
    learn=learn,
    blank_broadcast=lambda config, setting: Broadcast(segmenter=blank_segmenter(setting)),
    blank_upload=lambda config, setting, first: Upload(segmenter=blank_segmenter(setting)),
)
