"""Group DRO: train for the worst domain, by weights that grow where the risk is high.

Sagawa et al., "Distributionally Robust Neural Networks for Group Shifts", ICLR 2020, algorithm 1: after each iteration
q_e <- q_e exp(rate R_e) / Z, and the loss is sum_e q_e R_e. Where domains come from: `strategies/common/domains.py`.
With `rate: 0` this is plain training on all domains.
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
    """Settings of group DRO. rate: eta, how fast the weights of domains move."""

    rate: float = Field(default=1.0, ge=0)


def reweighted(weights: Tensor, risks: Tensor, rate: float) -> Tensor:
    """Return the weights [domains] after an exponentiated-gradient step; they sum to 1."""
    return torch.softmax(weights.log() + rate * risks.detach(), dim=0)


def train(
    config: Config, network: nn.Module, setting: Setting, batches: Iterator[list[Batch]], iterations: int
) -> None:
    """Train a network in place on the weighted risks; all domains weigh alike at the beginning."""
    descent = descent_of(network, setting, iterations)
    weights: Tensor | None = None
    for domains in batches:
        risks = torch.stack([segmentation_loss(network(batch.images), batch.masks) for batch in domains])
        even = torch.full((len(domains),), 1 / len(domains))
        weights = reweighted(even if weights is None else weights, risks, config.rate)
        descend((weights * risks).sum(), descent)


STRATEGY = multi_domain(Config, train)
