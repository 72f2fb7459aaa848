"""IRM: one last layer should be optimal for every domain at once.

Arjovsky et al., "Invariant Risk Minimization", arXiv 1907.02893, IRMv1: mean_e [R_e + weight |grad_{s | s = 1} R_e(s
f)|^2], the logits f of domain e scaled by a dummy s. The penalty begins after a first share of the iterations, as in
the paper's code; its square is taken on one batch, not on two halves of it. Where domains come from:
`strategies/common/domains.py`. With `weight: 0` this is plain training on all domains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from pydantic import Field
from torch import Tensor, nn

from strategies.common.alignment import Batch
from strategies.common.domains import DomainsConfig, multi_domain
from strategies.common.segmenter import descend, descent_of, segmentation_loss
from strategies.setting import Setting

Loss = Callable[[Tensor, Tensor], Tensor]


class Config(DomainsConfig):
    """Settings of IRM. weight: lambda; warm_up: the share of the iterations before the penalty."""

    weight: float = Field(default=1.0, ge=0)
    warm_up: float = Field(default=0.2, ge=0, le=1)


def risk_and_penalty(loss_of: Loss, logits: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Return one domain's risk and the square of its derivative by the scale of the logits, at 1."""
    scale = torch.ones((), requires_grad=True)
    risk = loss_of(scale * logits, masks)
    (slope,) = torch.autograd.grad(risk, scale, create_graph=True)
    return risk, slope.square()


def train(
    config: Config, network: nn.Module, setting: Setting, batches: Iterator[list[Batch]], iterations: int
) -> None:
    """Train a network in place on the mean risk and the mean penalty."""
    descent = descent_of(network, setting, iterations)
    for iteration, domains in enumerate(batches):
        terms = [risk_and_penalty(segmentation_loss, network(batch.images), batch.masks) for batch in domains]
        risk, penalty = (torch.stack(part).mean() for part in zip(*terms, strict=True))
        descend(risk + (config.weight * penalty if iteration >= config.warm_up * iterations else 0.0), descent)


STRATEGY = multi_domain(Config, train)
