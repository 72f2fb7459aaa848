"""Mixup: train on convex mixtures of two slices and of their masks.

Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018, with lambda ~ Beta(alpha, alpha) for each slice:
x = lambda x_i + (1 - lambda) x_j and y = lambda y_i + (1 - lambda) y_j. It needs one site alone: partners are drawn
from the same batch. The segmenter goes from site to site; with `alpha: 0` this is fine-tuning.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from sites.stream import Arrival
from sites.vault import Vault
from strategies import Strategy, StrategyConfig
from strategies.common.relay import Broadcast, RelayServer, Upload, blank_broadcast, blank_upload
from strategies.common.segmenter import (
    build_segmenter,
    descend,
    descent_of,
    minibatches,
    segmentation_loss,
    slices_of,
)
from strategies.setting import Setting


class Config(StrategyConfig):
    """Settings of mixup. alpha: of the Beta distribution; the larger, the closer to even mixtures (0: none)."""

    alpha: float = Field(default=0.2, ge=0)


def mixed(images: Tensor, masks: Tensor, alpha: float, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Mix each slice [N, C, H, W] with another one of the batch, and its mask [N, S, H, W] in the same proportion."""
    if alpha == 0:
        return images, masks
    shares = torch.from_numpy(generator.beta(alpha, alpha, len(images))).float().view(-1, 1, 1, 1)
    partners = torch.from_numpy(generator.permutation(len(images)))
    return torch.lerp(images[partners], images, shares), torch.lerp(masks[partners], masks, shares)


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the segmenter on mixtures of the site's current slices."""
    network = build_segmenter(setting)
    network.load_state_dict(dict(down.segmenter))
    images, masks = slices_of(arrival.cases)
    iterations = setting.budget.iterations_a_round(len(images))
    descent, generator = descent_of(network, setting, iterations), np.random.default_rng(arrival.seed)
    network.train()
    for some, their_masks in minibatches(setting, images, masks, iterations, arrival.seed):
        pictures, labels = mixed(some, their_masks, config.alpha, generator)
        descend(segmentation_loss(network(pictures), labels), descent)
    return Upload(segmenter=dict(network.state_dict()))


STRATEGY = Strategy(
    family="generalization",
    config=Config,
    server=RelayServer,
    learn=learn,
    blank_broadcast=blank_broadcast,
    blank_upload=blank_upload,
)
