"""FedProx: federated averaging in which a site may not stray far from the broadcast segmenter.

Li et al., "Federated Optimization in Heterogeneous Networks", MLSys 2020, algorithm 2: a site minimises
h(w) = F(w) + mu / 2 ||w - w_t||^2. With `mu: 0` this is federated averaging.
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
from strategies import Server, State, Strategy, StrategyConfig, summed_by_cases
from strategies.common.averaging import weighted_average
from strategies.common.segmenter import (
    blank_segmenter,
    build_segmenter,
    descend,
    descent_of,
    minibatches,
    segmentation_loss,
    slices_of,
)
from strategies.setting import Setting


class Config(StrategyConfig):
    """Settings of FedProx. mu: the strength of the proximal term (the paper searches .001 to 1)."""

    mu: float = Field(default=0.001, ge=0)


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: the averaged segmenter."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: the segmenter it trained, and on how many cases (int64 [1])."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    cases: Annotated[Tensor, Kind.COUNT]


class FedProxServer(Server[Broadcast, Upload]):
    """Averages what the sites trained, as federated averaging does."""

    def __init__(self, config: Config, setting: Setting) -> None:
        self._segmenter = build_segmenter(setting)

    def rota(self, arriving: tuple[str, ...], online: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Every site that holds data now takes part in every round."""
        return (online,)

    def broadcast(self, site: str, step: int) -> Broadcast:
        return Broadcast(segmenter=self._segmenter.state_dict())

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        shares = [float(upload.cases) for upload in uploads.values()]
        self._segmenter.load_state_dict(weighted_average([upload.segmenter for upload in uploads.values()], shares))

    def predictor(self, site: str) -> nn.Module:
        return self._segmenter

    def state_dict(self) -> State:
        return dict(self._segmenter.state_dict())

    def load_state_dict(self, state: State) -> None:
        self._segmenter.load_state_dict(state)


def proximal(network: nn.Module, anchor: Weights, mu: float) -> Tensor:
    """Return mu / 2 ||w - w_t||^2 over a network's parameters; buffers are no part of it."""
    distances = [(value - anchor[name]).square().sum() for name, value in network.named_parameters()]
    return mu / 2 * torch.stack(distances).sum()


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the broadcast segmenter on the site's current cases, held near to where it began."""
    network = build_segmenter(setting)
    network.load_state_dict(dict(down.segmenter))
    images, masks = slices_of(arrival.cases)
    iterations = setting.budget.iterations_a_round(len(images))
    descent = descent_of(network, setting, iterations)
    network.train()
    for some, their_masks in minibatches(setting, images, masks, iterations, arrival.seed):
        loss = segmentation_loss(network(some), their_masks)
        descend(loss + proximal(network, down.segmenter, config.mu), descent)
    return Upload(segmenter=dict(network.state_dict()), cases=torch.tensor([len(arrival.cases)]))


STRATEGY = Strategy(
    family="federated",
    config=Config,
    server=FedProxServer,
    learn=learn,
    blank_broadcast=lambda config, setting: Broadcast(segmenter=blank_segmenter(setting)),
    blank_upload=lambda config, setting, first: Upload(
        segmenter=blank_segmenter(setting), cases=torch.zeros(1, dtype=torch.int64, device="meta")
    ),
    sums=summed_by_cases,
)
