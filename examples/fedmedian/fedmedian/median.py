"""Federated median: each weight becomes the median over the sites online (Yin et al., ICML 2018, option I)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import nn

from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Kind, Payload, Weights
from strategies import Server, State, Strategy, StrategyConfig
from strategies.common.segmenter import blank_segmenter, build_segmenter, train_on_arrival
from strategies.setting import Setting


class Config(StrategyConfig):  # what a schedule may set, as `strategy: {name: fedmedian, pace: 0.5}`
    pace: float = 1.0  # the share of the way to the median


@dataclass(frozen=True, kw_only=True)
class Message(Payload):  # every field is a tensor, or named tensors, of a kind that a site's policy knows
    segmenter: Annotated[Weights, Kind.SEGMENTER]


class MedianServer(Server[Message, Message]):  # lives as long as the run
    def __init__(self, config: Config, setting: Setting) -> None:
        self._pace, self._segmenter = config.pace, build_segmenter(setting)

    def rota(self, arriving: tuple[str, ...], online: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        return (online,)  # who learns in a round: here all that hold data, at the same time

    def broadcast(self, site: str, step: int) -> Message:
        return Message(segmenter=self._segmenter.state_dict())

    def absorb(self, uploads: Mapping[str, Message], step: int) -> None:
        for name, value in self._segmenter.state_dict().items():
            median = torch.stack([upload.segmenter[name] for upload in uploads.values()]).median(0).values
            value.copy_(torch.lerp(value, median, self._pace) if value.is_floating_point() else median)

    def predictor(self, site: str) -> nn.Module:
        return self._segmenter

    def state_dict(self) -> State:  # all that a run needs which is killed and resumed
        return dict(self._segmenter.state_dict())

    def load_state_dict(self, state: State) -> None:
        self._segmenter.load_state_dict(state)


def learn(config: Config, setting: Setting, down: Message, arrival: Arrival, vault: Vault) -> Message:
    return Message(segmenter=train_on_arrival(down.segmenter, setting, arrival))  # runs at the site


STRATEGY = Strategy(
    family="federated", config=Config, server=MedianServer, learn=learn,
    blank_broadcast=lambda config, setting: Message(segmenter=blank_segmenter(setting)),
    blank_upload=lambda config, setting, first: Message(segmenter=blank_segmenter(setting)),
)  # fmt: skip
