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

from functools import partial

import torch
from pydantic import Field

from sites.seeds import seed_of
from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Weights
from strategies import Strategy
from strategies.common.anchored import AnchoredConfig, AnchoredServer, Broadcast, Upload, blank_broadcast, blank_upload
from strategies.common.fisher import fisher_diagonal
from strategies.common.importance import Anchor, no_importance, quadratic
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
    """Settings of EWC.

    strength: lambda; at 1 an earlier site weighs as much as the Laplace approximation of its loss says
    online: one running Fisher in place of a sum over sites; decay: gamma, what it keeps of itself (online alone)
    statistics: whose running statistics batch norm has
    Strength 0 with the newest site's statistics is fine-tuning.
    """

    strength: float = Field(default=1000.0, ge=0)
    online: bool = False
    decay: float = Field(default=0.95, ge=0, le=1)


def consolidate(config: Config, anchor: Anchor, weights: Weights, fisher: Weights) -> None:
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
        held = quadratic(network, down.anchor, down.importance)
        descend(segmentation_loss(network(some), their_masks) + config.strength / 2 * held, descent)
    last = arrival.round == setting.budget.rounds
    fisher = fisher_diagonal(network, images, seed_of(arrival.seed, "fisher")) if last else no_importance(network)
    return Upload(segmenter=dict(network.state_dict()), importance=fisher)


STRATEGY = Strategy(
    family="continual",
    config=Config,
    server=lambda config, setting: AnchoredServer(config, setting, partial(consolidate, config)),
    learn=learn,
    blank_broadcast=blank_broadcast,
    blank_upload=blank_upload,
)
