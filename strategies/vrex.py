"""V-REx: the risks of all domains should be equal, so their variance is a penalty.

Krueger et al., "Out-of-Distribution Generalization via Risk Extrapolation (REx)", ICML 2021, eq. 8: mean_e R_e + weight
Var_e(R_e). The penalty begins after a first share of the iterations, as in the paper. Where domains come from:
`strategies/common/domains.py`. With `weight: 0` this is plain training on all domains.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from pydantic import Field
from torch import Tensor, nn

from strategies.common.alignment import Batch
from strategies.common.domains import DomainsConfig, multi_domain
from strategies.common.segmenter import descend, descent_of, segmentation_loss
from strategies.setting import Setting


class Config(DomainsConfig):
    """Settings of V-REx. weight: beta; warm_up: the share of the iterations before the penalty."""

    weight: float = Field(default=100.0, ge=0)
    warm_up: float = Field(default=0.2, ge=0, le=1)


def extrapolated(risks: Tensor, weight: float) -> Tensor:
    """Return the mean of the risks [domains] and, weighted, their variance (over the domains there are)."""
    return risks.mean() + weight * risks.var(unbiased=False)


def train(
    config: Config, network: nn.Module, setting: Setting, batches: Iterator[list[Batch]], iterations: int
) -> None:
    """Train a network in place on the mean risk and the variance of risks."""
    descent = descent_of(network, setting, iterations)
    for iteration, domains in enumerate(batches):
        risks = torch.stack([segmentation_loss(network(batch.images), batch.masks) for batch in domains])
        weight = config.weight if iteration >= config.warm_up * iterations else 0.0
        descend(extrapolated(risks, weight), descent)


STRATEGY = multi_domain(Config, train)
