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

import torch
from pydantic import Field
from torch import Tensor, nn

from sites.stream import Arrival
from sites.vault import Vault
from strategies import Strategy
from strategies.common.anchored import AnchoredConfig, AnchoredServer, Broadcast, Upload, blank_broadcast, blank_upload
from strategies.common.importance import no_importance, quadratic
from strategies.common.segmenter import (
    build_segmenter,
    descend,
    descent_of,
    minibatches,
    segmentation_loss,
    slices_of,
)
from strategies.setting import Setting


class Config(AnchoredConfig):
    """Settings of MAS: `strength` is lambda of the paper, `statistics` whose running statistics batch norm has.

    Strength 0 with the newest site's statistics is fine-tuning.
    """

    strength: float = Field(default=1.0, ge=0)


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
    server=AnchoredServer,
    learn=learn,
    blank_broadcast=blank_broadcast,
    blank_upload=blank_upload,
)
