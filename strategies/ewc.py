"""Elastic weight consolidation: parameters that mattered to earlier sites are held near where those sites left them.

Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS 2017, eq. 3, a term for each site k:

    L(theta) = L_new(theta) + strength / 2 * sum_k sum_i F_k,i (theta_i - theta_k,i)^2

The terms of all sites add up to one: their Fisher diagonals sum, and their anchors average, weighted by them (Huszar,
PNAS 2018). With `online`, Schwarz et al., "Progress & Compress", ICML 2018: F <- decay F + F_k, anchored at the newest
site's parameters alone. Batch norm's running statistics are no parameters: see `strategies/common/normalization.py`.

The Fisher diagonal leaves as a GRADIENT. It is a mean of squared gradients over the site's slices: for a site with one
slice its root is the size of every gradient entry. A site that lets no gradient out must be able to refuse it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from sites.seeds import seed_of
from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Kind, Payload, Weights
from strategies import Server, State, Strategy, StrategyConfig
from strategies.common.fisher import fisher_diagonal
from strategies.common.importance import Anchor, blank_parameters, no_importance, parameters_of, quadratic
from strategies.common.normalization import SiteStatistics, Statistics
from strategies.common.segmenter import (
    blank_segmenter,
    build_segmenter,
    descend,
    descent_of,
    minibatches,
    segmentation_loss,
    slices_of,
)
from strategies.common.turns import Turns
from strategies.setting import Setting


class Config(StrategyConfig):
    """Settings of EWC.

    strength: lambda; at 1 an earlier site weighs as much as the Laplace approximation of its loss says
    online: one running Fisher in place of a sum over sites; decay: gamma, what it keeps of itself (online alone)
    statistics: whose running statistics batch norm has
    Strength 0 with the newest site's statistics is fine-tuning.
    """

    strength: float = Field(default=1000.0, ge=0)
    online: bool = False
    decay: float = Field(default=0.95, ge=0, le=1)
    statistics: Statistics = "own"


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: the segmenter, and the parameters and Fisher diagonal of all that was learnt."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    anchor: Annotated[Weights, Kind.SEGMENTER]
    fisher: Annotated[Weights, Kind.GRADIENT]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: the segmenter, and its Fisher diagonal (zeros before a step's last round)."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    fisher: Annotated[Weights, Kind.GRADIENT]


class EwcServer(Server[Broadcast, Upload]):
    """Passes the segmenter from one site to the next, with what holds it."""

    def __init__(self, config: Config, setting: Setting) -> None:
        self._config = config
        self._segmenter = build_segmenter(setting)
        self._anchor = Anchor(self._segmenter)
        self._statistics = SiteStatistics(self._segmenter, setting, config.statistics)
        self._turns = Turns(setting)

    def rota(self, arriving: tuple[str, ...], online: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Sites that arrive in one step learn one after another."""
        return tuple((site,) for site in arriving)

    def broadcast(self, site: str, step: int) -> Broadcast:
        return Broadcast(
            segmenter=self._segmenter.state_dict(), anchor=self._anchor.weights, fisher=self._anchor.importance
        )

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        for site, upload in uploads.items():
            self._segmenter.load_state_dict(dict(upload.segmenter))
            self._statistics.keep(site, upload.segmenter)
            if self._turns.take(site):
                consolidate(self._anchor, parameters_of(self._segmenter), upload.fisher, self._config)

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
        prefix = "segmenter/"
        self._segmenter.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        self._anchor.load_state_dict(state)
        self._statistics.load_state_dict(state)
        self._turns.load_state_dict(state)


def consolidate(anchor: Anchor, weights: Weights, fisher: Weights, config: Config) -> None:
    """Add a site to an anchor: its parameters and its Fisher diagonal, which are of one form."""
    for name, value in weights.items():
        if config.online:
            anchor.weights[name] = value
            anchor.importance[name] = config.decay * anchor.importance[name] + fisher[name]
        else:
            total = anchor.importance[name] + fisher[name]
            share = torch.where(total > 0, fisher[name] / total, 1.0)
            anchor.weights[name] = torch.lerp(anchor.weights[name], value, share)
            anchor.importance[name] = total


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the segmenter on the current cases, held by what earlier sites need; then measure what this site needs."""
    network = build_segmenter(setting)
    network.load_state_dict(dict(down.segmenter))
    images, masks = slices_of(arrival.cases)
    iterations = setting.budget.iterations_a_round(len(images))
    descent = descent_of(network, setting, iterations)
    network.train()
    for some, their_masks in minibatches(setting, images, masks, iterations, arrival.seed):
        held = quadratic(network, down.anchor, down.fisher)
        descend(segmentation_loss(network(some), their_masks) + config.strength / 2 * held, descent)
    last = arrival.round == setting.budget.rounds
    fisher = fisher_diagonal(network, images, seed_of(arrival.seed, "fisher")) if last else no_importance(network)
    return Upload(segmenter=dict(network.state_dict()), fisher=fisher)


STRATEGY = Strategy(
    family="continual",
    config=Config,
    server=EwcServer,
    learn=learn,
    blank_broadcast=lambda config, setting: Broadcast(
        segmenter=blank_segmenter(setting), anchor=blank_parameters(setting), fisher=blank_parameters(setting)
    ),
    blank_upload=lambda config, setting, first: Upload(
        segmenter=blank_segmenter(setting), fisher=blank_parameters(setting)
    ),
)
