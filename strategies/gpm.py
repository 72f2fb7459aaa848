"""Gradient projection memory: layers change only in directions that no earlier site's features have.

Saha, Garg & Roy, "Gradient Projection Memory for Continual Learning", ICLR 2021. What a convolution does to an input is
decided by its weights along that input, so an update that is orthogonal to the inputs of earlier sites changes nothing
for them. After a site, each layer's basis M grows by the leading directions of the inputs that M does not span yet,
until it holds a share `threshold` of their energy. Updates are then

    dW <- dW - dW M M^T

The inputs are the patches that a convolution sees, or the features at a pixel for a transposed one. The update is
projected and not the gradient, since AdamW's scaling would turn a projected gradient back (as in Wang et al., "Training
Networks in Null Space of Feature Covariance for Continual Learning", CVPR 2021). Biases and the norms' parameters stay
as the first site left them; running statistics are each site's own (see `strategies/common/normalization.py`).

M leaves as a STATISTIC: the principal directions of a site's features; for the first layer, of its images' patches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import unfold

from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Kind, Payload, Weights
from strategies import State, Strategy, StrategyConfig
from strategies.common.importance import parameters_of
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
from strategies.common.sequence import SequentialServer
from strategies.common.state import part_of
from strategies.common.turns import Turns
from strategies.setting import Setting

Convolution = nn.Conv2d | nn.ConvTranspose2d


class Config(StrategyConfig):
    """Settings of GPM.

    threshold: the share of the features' energy that a basis holds; statistics: whose running statistics batch norm has
    Threshold 0 with the newest site's statistics is fine-tuning.
    """

    threshold: float = Field(default=0.95, ge=0, lt=1)
    statistics: Statistics = "own"


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: the segmenter, and each layer's basis, float32 [d, d]; unused columns are zero."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    basis: Annotated[Weights, Kind.STATISTIC]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: the segmenter, and the bases, grown in a step's last round."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    basis: Annotated[Weights, Kind.STATISTIC]


class GpmServer(SequentialServer[Broadcast, Upload]):
    """Passes the segmenter from one site to the next, with the directions that are taken."""

    def __init__(self, config: Config, setting: Setting) -> None:
        self._segmenter = build_segmenter(setting)
        self._basis = empty_basis(self._segmenter)
        self._statistics = SiteStatistics(self._segmenter, setting, config.statistics)
        self._turns = Turns(setting)

    def broadcast(self, site: str, step: int) -> Broadcast:
        return Broadcast(segmenter=self._segmenter.state_dict(), basis=self._basis)

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        for site, upload in uploads.items():
            self._segmenter.load_state_dict(dict(upload.segmenter))
            self._statistics.keep(site, upload.segmenter)
            if self._turns.take(site):
                self._basis = dict(upload.basis)

    def predictor(self, site: str) -> nn.Module:
        return self._statistics.segmenter_for(site)

    def state_dict(self) -> State:
        return {
            **self._segmenter.state_dict(prefix="segmenter/"),
            **{f"basis/{name}": value for name, value in self._basis.items()},
            **self._statistics.state_dict(),
            **self._turns.state_dict(),
        }

    def load_state_dict(self, state: State) -> None:
        self._segmenter.load_state_dict(part_of(state, "segmenter/"))
        self._basis = {name: state[f"basis/{name}"] for name in self._basis}
        self._statistics.load_state_dict(state)
        self._turns.load_state_dict(state)


def convolutions(network: nn.Module) -> dict[str, Convolution]:
    """Return the convolutions of a network by the names of their weights."""
    return {f"{name}.weight": part for name, part in network.named_modules() if isinstance(part, Convolution)}


def inputs_of(layer: Convolution, features: Tensor) -> Tensor:
    """Return what a layer's weights are multiplied with, float32 [d, columns], for features [N, C, H, W]."""
    if isinstance(layer, nn.ConvTranspose2d):
        return features.transpose(0, 1).flatten(1)
    patches = unfold(features, layer.kernel_size, layer.dilation, layer.padding, layer.stride)  # type: ignore[arg-type]
    return patches.transpose(0, 1).flatten(1)


def empty_basis(network: nn.Module) -> dict[str, Tensor]:
    """Return a basis without directions for each convolution, on the network's device."""
    sizes = {
        name: (layer.weight.shape[0] if isinstance(layer, nn.ConvTranspose2d) else layer.weight[0].numel())
        for name, layer in convolutions(network).items()
    }
    device = next(network.parameters()).device
    return {name: torch.zeros(size, size, device=device) for name, size in sizes.items()}


@torch.no_grad()
def covariances(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Return R R^T of each convolution's inputs R over images float32 [N, C, H, W], in double precision: [d, d]."""
    found = {name: basis.double() for name, basis in empty_basis(network).items()}

    def gather(name: str, layer: Convolution, features: Tensor) -> None:
        columns = inputs_of(layer, features).double()
        found[name] += columns @ columns.T

    hooks = [
        layer.register_forward_pre_hook(lambda layer, given, name=name: gather(name, layer, given[0]))
        for name, layer in convolutions(network).items()
    ]
    network.eval()
    for image in images:
        network(image[None])
    for hook in hooks:
        hook.remove()
    return found


def grown(basis: Tensor, covariance: Tensor, threshold: float) -> Tensor:
    """Return a basis [d, d] with as many directions added as hold, with it, a share of the inputs' energy."""
    used = basis[:, basis.any(dim=0)].double()
    outside = torch.eye(len(basis), dtype=torch.float64) - used @ used.T
    energies, directions = torch.linalg.eigh(outside @ covariance @ outside)
    energies, directions = energies.flip(0).clamp(min=0), directions.flip(1)
    missing = threshold * covariance.trace() - (used.T @ covariance @ used).trace()
    held = torch.cat([energies.new_zeros(1), energies.cumsum(0)])
    count = min(int((held < missing).sum()), len(basis) - used.shape[1])
    found = torch.zeros_like(basis)
    found[:, : used.shape[1] + count] = torch.cat([used, directions[:, :count]], dim=1).float()
    return found


def projected(update: Tensor, basis: Tensor, layer: Convolution) -> Tensor:
    """Return an update of a layer's weights without its part along a basis."""
    used = basis[:, basis.any(dim=0)]
    transposed = isinstance(layer, nn.ConvTranspose2d)
    matrix = update.flatten(1).T if transposed else update.flatten(1)
    matrix = matrix - (matrix @ used) @ used.T
    return (matrix.T if transposed else matrix).reshape(update.shape)


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the segmenter on the current cases, off the directions that are taken; then take this site's."""
    network = build_segmenter(setting)
    network.load_state_dict(dict(down.segmenter))
    images, masks = slices_of(arrival.cases)
    iterations = setting.budget.iterations_a_round(len(images))
    descent = descent_of(network, setting, iterations)
    held = any(bool(basis.any()) for basis in down.basis.values())
    network.train()
    for some, their_masks in minibatches(setting, images, masks, iterations, arrival.seed):
        before = parameters_of(network)
        descend(segmentation_loss(network(some), their_masks), descent)
        if held:
            keep_off(network, before, down.basis)
    basis = dict(down.basis)
    if arrival.round == setting.budget.rounds and config.threshold:
        found = covariances(network, images)
        basis = {name: grown(value, found[name], config.threshold) for name, value in basis.items()}
    return Upload(segmenter=dict(network.state_dict()), basis=basis)


@torch.no_grad()
def keep_off(network: nn.Module, before: Mapping[str, Tensor], basis: Weights) -> None:
    """Take back the part of the last step that lies along the bases, and all of it that is in no convolution weight."""
    layers = convolutions(network)
    for name, value in network.named_parameters():
        step = projected(value - before[name], basis[name], layers[name]) if name in layers else 0.0
        value.copy_(before[name] + step)


def blank_basis(setting: Setting) -> dict[str, Tensor]:
    """Return the bases without values."""
    with torch.device("meta"):
        return empty_basis(build_segmenter(setting))


STRATEGY = Strategy(
    family="continual",
    config=Config,
    server=GpmServer,
    learn=learn,
    blank_broadcast=lambda config, setting: Broadcast(segmenter=blank_segmenter(setting), basis=blank_basis(setting)),
    blank_upload=lambda config, setting, first: Upload(segmenter=blank_segmenter(setting), basis=blank_basis(setting)),
)
