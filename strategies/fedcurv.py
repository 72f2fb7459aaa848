"""FedCurv: federated averaging in which a site is held to what other sites learnt, where that matters to them.

Shoham et al., "Overcoming Forgetting in Federated Learning on Non-IID Data", NeurIPS workshop 2019, eq. 3: site i
minimises L_i(w) + strength sum_{j != i} (w - w_j)^T diag(F_j) (w - w_j), with w_j and F_j those of the round before. A
site releases w_j and F_j; the others get the sums of F_j and F_j w_j alone, which the penalty needs no more than. A
site that has left stays in the sums: here that guards against forgetting as well as drift. The Fisher diagonal is a
mean of squared gradients, so it leaves as a GRADIENT. With `strength: 0` this is federated averaging.
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
from sites.wire import Kind, Payload, Weights
from strategies import Server, State, Strategy, StrategyConfig
from strategies.common.averaging import weighted_average
from strategies.common.fisher import fisher_diagonal
from strategies.common.importance import blank_parameters
from strategies.common.segmenter import (
    blank_segmenter,
    build_segmenter,
    descend,
    descent_of,
    minibatches,
    segmentation_loss,
    slices_of,
)
from strategies.common.state import part_of
from strategies.setting import Setting


class Config(StrategyConfig):
    """Settings of FedCurv. strength: of the penalty."""

    strength: float = Field(default=1.0, ge=0)


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: the averaged segmenter, and over all other sites the sums of F_j and of F_j w_j."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    fisher: Annotated[Weights, Kind.GRADIENT]
    pull: Annotated[Weights, Kind.GRADIENT]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: the segmenter it trained, its Fisher diagonal, and on how many cases (int64 [1])."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    fisher: Annotated[Weights, Kind.GRADIENT]
    cases: Annotated[Tensor, Kind.COUNT]


class FedCurvServer(Server[Broadcast, Upload]):
    """Averages what the sites trained, and keeps the newest curvature of every site."""

    def __init__(self, config: Config, setting: Setting) -> None:
        self._segmenter = build_segmenter(setting)
        self._zero = {name: torch.zeros_like(value) for name, value in self._segmenter.named_parameters()}
        self._fisher: dict[str, Weights] = {}
        self._pull: dict[str, Weights] = {}

    def rota(self, arriving: tuple[str, ...], online: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Every site that holds data now takes part in every round."""
        return (online,)

    def broadcast(self, site: str, step: int) -> Broadcast:
        fisher, pull = (self._sum_over_others(site, table) for table in (self._fisher, self._pull))
        return Broadcast(segmenter=self._segmenter.state_dict(), fisher=fisher, pull=pull)

    def _sum_over_others(self, site: str, table: Mapping[str, Weights]) -> dict[str, Tensor]:
        others = [table[other] for other in sorted(table) if other != site]
        return {name: sum((other[name] for other in others), zero) for name, zero in self._zero.items()}

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        shares = [float(upload.cases) for upload in uploads.values()]
        self._segmenter.load_state_dict(weighted_average([upload.segmenter for upload in uploads.values()], shares))
        for site, upload in uploads.items():
            self._fisher[site] = upload.fisher
            self._pull[site] = {name: value * upload.segmenter[name] for name, value in upload.fisher.items()}

    def predictor(self, site: str) -> nn.Module:
        return self._segmenter

    def state_dict(self) -> State:
        state = self._segmenter.state_dict(prefix="segmenter/")
        for what, table in (("fisher", self._fisher), ("pull", self._pull)):
            state |= {f"{what}/{site}/{name}": value for site, kept in table.items() for name, value in kept.items()}
        return dict(state)

    def load_state_dict(self, state: State) -> None:
        self._segmenter.load_state_dict(part_of(state, "segmenter/"))
        self._fisher, self._pull = (_table(state, what) for what in ("fisher", "pull"))


def _table(state: State, what: str) -> dict[str, Weights]:
    table: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        if key.startswith(f"{what}/"):
            _, site, name = key.split("/", 2)
            table.setdefault(site, {})[name] = value
    return dict(table)


def curvature(network: nn.Module, fisher: Weights, pull: Weights) -> Tensor:
    """Return sum_j (w - w_j)^T diag(F_j) (w - w_j) without its constant, sum_j w_j^T diag(F_j) w_j."""
    terms = [(fisher[n] * value.square() - 2 * pull[n] * value).sum() for n, value in network.named_parameters()]
    return torch.stack(terms).sum()


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the broadcast segmenter under the penalty, then measure its curvature on the site's cases."""
    network = build_segmenter(setting)
    network.load_state_dict(dict(down.segmenter))
    images, masks = slices_of(arrival.cases)
    iterations = setting.budget.iterations_a_round(len(images))
    descent = descent_of(network, setting, iterations)
    network.train()
    for some, their_masks in minibatches(setting, images, masks, iterations, arrival.seed):
        loss = segmentation_loss(network(some), their_masks)
        descend(loss + config.strength * curvature(network, down.fisher, down.pull), descent)
    return Upload(
        segmenter=dict(network.state_dict()),
        fisher=fisher_diagonal(network, images, seed_of(arrival.seed, "fisher")),
        cases=torch.tensor([len(arrival.cases)]),
    )


STRATEGY = Strategy(
    family="federated",
    config=Config,
    server=FedCurvServer,
    learn=learn,
    blank_broadcast=lambda config, setting: Broadcast(
        segmenter=blank_segmenter(setting), fisher=blank_parameters(setting), pull=blank_parameters(setting)
    ),
    blank_upload=lambda config, setting, first: Upload(
        segmenter=blank_segmenter(setting),
        fisher=blank_parameters(setting),
        cases=torch.zeros(1, dtype=torch.int64, device="meta"),
    ),
)
