"""Learning without forgetting: on the newest site's images the segmenter must go on saying what it said before.

Li & Hoiem, "Learning without Forgetting", ECCV 2016. The old segmenter labels the current images softly,

    L(theta) = L_new(theta) + strength * L_distil(f_theta(x) / T, f_old(x) / T)

and L_distil is their divergence. The paper takes a softmax over classes; here each structure is a yes or no a pixel, so
it is Hinton's distillation with a sigmoid, as a Kullback-Leibler divergence: it has the gradient of the paper's
cross-entropy, and is zero where nothing changed. It is multiplied by T^2, so that T does not change its weight.
Both segmenters read an image with the batch's own norm statistics: with an earlier scanner's, the old one would often
find nothing in it, and teach that. Nothing but the segmenter leaves a site.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Kind, Payload, Weights
from strategies import Server, State, Strategy, StrategyConfig
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
    """Settings of LwF.

    strength: lambda_o of the paper; temperature: its T; statistics: whose running statistics batch norm has
    Strength 0 with the newest site's statistics is fine-tuning.
    """

    strength: float = Field(default=1.0, ge=0)
    temperature: float = Field(default=2.0, gt=0)
    statistics: Statistics = "newest"


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


class LwfServer(Server[Broadcast, Upload]):
    """Passes the segmenter from one site to the next, and keeps it as the last site left it."""

    def __init__(self, config: Config, setting: Setting) -> None:
        self._segmenter, self._old = build_segmenter(setting), build_segmenter(setting)
        self._statistics = SiteStatistics(self._segmenter, setting, config.statistics)
        self._turns = Turns(setting)

    def rota(self, arriving: tuple[str, ...], online: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Sites that arrive in one step learn one after another."""
        return tuple((site,) for site in arriving)

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
            network.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        self._statistics.load_state_dict(state)
        self._turns.load_state_dict(state)


def distillation(logits: Tensor, old: Tensor, temperature: float) -> Tensor:
    """Return T^2 KL(sigmoid(old / T) || sigmoid(logits / T)), a mean over pixels; both are [N, S, H, W]."""
    new, old = logits / temperature, old / temperature
    yes = torch.sigmoid(old)
    divergence = yes * (logsigmoid(old) - logsigmoid(new)) + (1 - yes) * (logsigmoid(-old) - logsigmoid(-new))
    return temperature**2 * divergence.mean()


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the segmenter on the current cases, and on what the old one says of their images."""
    network, old = build_segmenter(setting), build_segmenter(setting)
    network.load_state_dict(dict(down.segmenter))
    old.load_state_dict(dict(down.old))
    learnt = bool(down.learnt)
    images, masks = slices_of(arrival.cases)
    iterations = setting.budget.iterations_a_round(len(images))
    descent = descent_of(network, setting, iterations)
    network.train()
    old.train()
    for some, their_masks in minibatches(setting, images, masks, iterations, arrival.seed):
        logits = network(some)
        loss = segmentation_loss(logits, their_masks)
        if learnt and config.strength:
            with torch.no_grad():
                said = old(some)
            loss = loss + config.strength * distillation(logits, said, config.temperature)
        descend(loss, descent)
    return Upload(segmenter=dict(network.state_dict()))


def blank_broadcast(config: Config, setting: Setting) -> Broadcast:
    """Return a broadcast without values."""
    return Broadcast(
        segmenter=blank_segmenter(setting),
        old=blank_segmenter(setting),
        learnt=torch.zeros(1, dtype=torch.uint8, device="meta"),
    )


STRATEGY = Strategy(
    family="continual",
    config=Config,
    server=LwfServer,
    learn=learn,
    blank_broadcast=blank_broadcast,
    blank_upload=lambda config, setting, first: Upload(segmenter=blank_segmenter(setting)),
)
