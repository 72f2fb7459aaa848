"""PLOP's pooled distillation: the segmenter's inner features, pooled at several scales, must stay as they were.

Douillard et al., "PLOP: Learning without Forgetting for Continual Semantic Segmentation", CVPR 2021:

    L(theta) = L_new(theta) + strength * mean over layers l of || Phi(f_l,theta(x)) - Phi(f_l,old(x)) ||^2

Phi cuts a feature map into 2^s x 2^s regions for s = 0, 1, ... and takes, in each, its mean over the width and its mean
over the height. The layers are all blocks of the U-Net, and its logits. The square is taken as a mean over the entries
of Phi, so that one strength fits layers of any size.

What is adapted: PLOP was made for classes that come one after another, and lets the old model relabel the background.
Here the structures are the same at every site and labelled in every slice, so there is nothing to relabel: the
pseudo-labels are left out. Both segmenters read an image with the batch's own norm statistics: with an earlier
scanner's, the old one's features would be those of no image it was made for. Nothing but the segmenter leaves a site.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from monai.networks.blocks import ADN
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import mse_loss

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
    """Settings of PLOP.

    strength: of the distillation; scales: the number of scales of Phi; statistics: whose running statistics batch
    norm has. Strength 0 with the newest site's statistics is fine-tuning.
    """

    strength: float = Field(default=1.0, ge=0)
    scales: int = Field(default=3, ge=1, le=5)
    statistics: Statistics = "own"


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


class PlopServer(Server[Broadcast, Upload]):
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


class Features:
    """Reads off what each block of a segmenter puts out: MONAI's U-Net ends every block in its activation."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._found: list[Tensor] = []
        for module in network.modules():
            if isinstance(module, ADN):
                module.register_forward_hook(lambda module, inputs, output: self._found.append(output))

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps [N, C, H, W] of every block, and the logits last."""
        self._found.clear()
        logits = self._network(images)
        return [*self._found, logits]


def pooled(features: Tensor, scales: int) -> Tensor:
    """Return Phi of feature maps [N, C, H, W]: [N, entries]; a scale that cuts finer than the map is left out."""
    strips = []
    for scale in range(scales):
        cuts = 2**scale
        if cuts > min(features.shape[-2:]):
            break
        for rows in features.tensor_split(cuts, dim=-2):
            for region in rows.tensor_split(cuts, dim=-1):
                strips += [region.mean(dim=-1).flatten(1), region.mean(dim=-2).flatten(1)]
    return torch.cat(strips, dim=1)


def local_pod(new: Sequence[Tensor], old: Sequence[Tensor], scales: int) -> Tensor:
    """Return the distillation loss between two segmenters' feature maps, layer by layer."""
    return torch.stack([mse_loss(pooled(n, scales), pooled(o, scales)) for n, o in zip(new, old, strict=True)]).mean()


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the segmenter on the current cases, its features held to those of the old one."""
    network, old = build_segmenter(setting), build_segmenter(setting)
    network.load_state_dict(dict(down.segmenter))
    old.load_state_dict(dict(down.old))
    learnt = bool(down.learnt)
    images, masks = slices_of(arrival.cases)
    iterations = setting.budget.iterations_a_round(len(images))
    descent = descent_of(network, setting, iterations)
    features, old_features = Features(network), Features(old)
    network.train()
    old.train()
    for some, their_masks in minibatches(setting, images, masks, iterations, arrival.seed):
        found = features(some)
        loss = segmentation_loss(found[-1], their_masks)
        if learnt and config.strength:
            with torch.no_grad():
                before = old_features(some)
            loss = loss + config.strength * local_pod(found, before, config.scales)
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
    server=PlopServer,
    learn=learn,
    blank_broadcast=blank_broadcast,
    blank_upload=lambda config, setting, first: Upload(segmenter=blank_segmenter(setting)),
)
