"""Federated averaging over the sites that have arrived and are still online.

McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", AISTATS 2017,
algorithm 1: every site trains the broadcast segmenter, the server averages by number of training cases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Kind, Payload, Weights
from strategies import Server, State, Strategy, StrategyConfig, Sum, always
from strategies.common.averaging import weighted_average
from strategies.common.segmenter import blank_segmenter, build_segmenter, train_on_arrival
from strategies.setting import Setting


class Config(StrategyConfig):
    """Settings of federated averaging.

    weighting: by the number of training cases (as in the paper), or every site alike
    """

    weighting: Literal["cases", "uniform"] = "cases"


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: the averaged segmenter."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: the segmenter it trained, and on how many cases (int64 [1])."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    cases: Annotated[Tensor, Kind.COUNT]


class FedAvgServer(Server[Broadcast, Upload]):
    """Averages what the sites trained."""

    def __init__(self, config: Config, setting: Setting) -> None:
        self._weighting = config.weighting
        self._segmenter = build_segmenter(setting)

    def rota(self, arriving: tuple[str, ...], online: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Every site that holds data now takes part in every round."""
        return (online,)

    def broadcast(self, site: str, step: int) -> Broadcast:
        return Broadcast(segmenter=self._segmenter.state_dict())

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        by_cases = self._weighting == "cases"
        shares = [float(upload.cases) if by_cases else 1.0 for upload in uploads.values()]
        weights = [upload.segmenter for upload in uploads.values()]
        self._segmenter.load_state_dict(weighted_average(weights, shares))

    def predictor(self, site: str) -> nn.Module:
        return self._segmenter

    def state_dict(self) -> State:
        return dict(self._segmenter.state_dict())

    def load_state_dict(self, state: State) -> None:
        self._segmenter.load_state_dict(state)


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the broadcast segmenter on the site's current cases."""
    return Upload(
        segmenter=train_on_arrival(down.segmenter, setting, arrival),
        cases=torch.tensor([len(arrival.cases)]),
    )


STRATEGY = Strategy(
    family="federated",
    config=Config,
    server=FedAvgServer,
    learn=learn,
    blank_broadcast=lambda config, setting: Broadcast(segmenter=blank_segmenter(setting)),
    blank_upload=lambda config, setting, first: Upload(
        segmenter=blank_segmenter(setting), cases=torch.zeros(1, dtype=torch.int64, device="meta")
    ),
    trains_privately=always,
    sums=lambda config: Sum(weight="cases" if config.weighting == "cases" else None),
)
