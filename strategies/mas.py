"""Memory aware synapses: each parameter is held by how strongly the segmenter's output depends on it, labels apart.

Aljundi et al., "Memory Aware Synapses: Learning what (not) to forget", ECCV 2018:

    Omega_i = 1/N sum_n | d ||F(x_n; theta)||^2 / d theta_i |
    L(theta) = L_new(theta) + strength * sum_i Omega_i (theta_i - theta*_i)^2

F(x) are the logits of a slice; the squared norm is taken as a mean over pixels, so that strength does not depend on the
size of an image. Omega adds up over sites, theta* is where the last one left the parameters. Batch norm's running
statistics are no parameters: see `strategies/common/normalization.py`.

Omega leaves as a GRADIENT: it is a mean of the sizes of gradients; with one slice it is that gradient, signs apart.
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
from strategies import Server, State, Strategy, StrategyConfig
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
    """Settings of MAS: `strength` is lambda of the paper, `statistics` whose running statistics batch norm has.

    Strength 0 with the newest site's statistics is fine-tuning.
    """

    strength: float = Field(default=1.0, ge=0)
    statistics: Statistics = "own"


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: the segmenter, the parameters to stay near, and how much each matters."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    anchor: Annotated[Weights, Kind.SEGMENTER]
    importance: Annotated[Weights, Kind.GRADIENT]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: the segmenter, and its own Omega (zeros before a step's last round)."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    importance: Annotated[Weights, Kind.GRADIENT]


class MasServer(Server[Broadcast, Upload]):
    """Passes the segmenter from one site to the next, and sums what matters to each."""

    def __init__(self, config: Config, setting: Setting) -> None:
        self._segmenter = build_segmenter(setting)
        self._anchor = Anchor(self._segmenter)
        self._statistics = SiteStatistics(self._segmenter, setting, config.statistics)
        self._turns = Turns(setting)

    def rota(self, arriving: tuple[str, ...], online: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Sites that arrive in one step learn one after another."""
        return tuple((site,) for site in arriving)

    def broadcast(self, site: str, step: int) -> Broadcast:
        return Broadcast(
            segmenter=self._segmenter.state_dict(), anchor=self._anchor.weights, importance=self._anchor.importance
        )

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        for site, upload in uploads.items():
            self._segmenter.load_state_dict(dict(upload.segmenter))
            self._statistics.keep(site, upload.segmenter)
            if self._turns.take(site):
                self._anchor.weights = parameters_of(self._segmenter)
                for name, importance in upload.importance.items():
                    self._anchor.importance[name] = self._anchor.importance[name] + importance

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


def output_sensitivity(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Return Omega of a segmenter over images float32 [N, C, H, W]; no labels are needed."""
    importance = no_importance(network)
    network.eval()
    for image in images:
        size = network(image[None]).square().mean()
        gradients = torch.autograd.grad(size, list(network.parameters()))
        for name, gradient in zip(importance, gradients, strict=True):
            importance[name] += gradient.abs() / len(images)
    return importance


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the segmenter on the current cases, held by what earlier sites need; then measure what this site needs."""
    network = build_segmenter(setting)
    network.load_state_dict(dict(down.segmenter))
    images, masks = slices_of(arrival.cases)
    iterations = setting.budget.iterations_a_round(len(images))
    descent = descent_of(network, setting, iterations)
    network.train()
    for some, their_masks in minibatches(setting, images, masks, iterations, arrival.seed):
        held = config.strength * quadratic(network, down.anchor, down.importance)
        descend(segmentation_loss(network(some), their_masks) + held, descent)
    last = arrival.round == setting.budget.rounds
    importance = output_sensitivity(network, images) if last else no_importance(network)
    return Upload(segmenter=dict(network.state_dict()), importance=importance)


STRATEGY = Strategy(
    family="continual",
    config=Config,
    server=MasServer,
    learn=learn,
    blank_broadcast=lambda config, setting: Broadcast(
        segmenter=blank_segmenter(setting), anchor=blank_parameters(setting), importance=blank_parameters(setting)
    ),
    blank_upload=lambda config, setting, first: Upload(
        segmenter=blank_segmenter(setting), importance=blank_parameters(setting)
    ),
)
