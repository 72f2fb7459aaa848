"""CORAL: the deep features of all domains should have the same covariance.

Sun & Saenko, "Deep CORAL: Correlation Alignment for Deep Domain Adaptation", ECCV 2016 workshop, eq. 1: for a pair of
domains |C_1 - C_2|_F^2 / (4 d^2), here as a mean over all pairs, as domain generalization uses it. Features are those
at the bottom of the U-Net, a sample for each place there. Where domains come from: `strategies/common/domains.py`. With
`weight: 0` this is plain training on all domains.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import torch
from monai.networks.layers import SkipConnection
from pydantic import Field
from torch import Tensor, nn

from strategies.common.alignment import Batch
from strategies.common.domains import DomainsConfig, multi_domain
from strategies.common.segmenter import descend, descent_of, segmentation_loss
from strategies.setting import Setting


class Config(DomainsConfig):
    """Settings of CORAL. weight: of the distance between covariances."""

    weight: float = Field(default=0.1, ge=0)


def bottom_of(network: nn.Module) -> nn.Module:
    """Return the lowest level of a U-Net: what its innermost skip connection goes round."""
    innermost = [module for module in network.modules() if isinstance(module, SkipConnection)][-1]
    bottom: nn.Module = innermost.submodule
    return bottom


def covariance_distance(one: Tensor, other: Tensor) -> Tensor:
    """Return |C_1 - C_2|_F^2 / (4 d^2) of two sets of features [samples, d]."""
    difference = torch.cov(one.T) - torch.cov(other.T)
    return difference.square().sum() / (4 * one.shape[1] ** 2)


def train(
    config: Config, network: nn.Module, setting: Setting, batches: Iterator[list[Batch]], iterations: int
) -> None:
    """Train a network in place on the mean risk and the mean distance of all pairs of domains."""
    descent = descent_of(network, setting, iterations)
    features: list[Tensor] = []
    hook = bottom_of(network).register_forward_hook(
        lambda module, inputs, output: features.append(output.transpose(0, 1).flatten(1).T)
    )
    for domains in batches:
        features.clear()
        risk = torch.stack([segmentation_loss(network(batch.images), batch.masks) for batch in domains]).mean()
        distances = torch.stack([covariance_distance(one, other) for one, other in combinations(features, 2)])
        descend(risk + config.weight * distances.mean(), descent)
    hook.remove()


STRATEGY = multi_domain(Config, train)
