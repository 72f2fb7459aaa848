"""Fish: walk through the domains one by one, then go part of the way, which makes their gradients agree.

Shi et al., "Gradient Matching for Domain Generalization", ICLR 2022, algorithm 2: from w, w' takes a step on each
domain after another, then w <- w + meta (w' - w). To second order in the inner step this raises the inner product of
the domains' gradients. The inner steps are AdamW's, as every strategy's; the domains change places from one walk to the
next. Where domains come from: `strategies/common/domains.py`. With `meta: 1` this is plain training on one domain at a
time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from strategies.common.alignment import Batch
from strategies.common.domains import DomainsConfig, multi_domain
from strategies.common.segmenter import Descent, descend, descent_of, segmentation_loss
from strategies.setting import Setting

Loss = Callable[[Tensor, Tensor], Tensor]


class Config(DomainsConfig):
    """Settings of Fish. meta: the share of the way that is gone after each walk."""

    meta: float = Field(default=0.2, gt=0, le=1)


def walk(network: nn.Module, loss_of: Loss, batches: Sequence[Batch], descent: Descent, meta: float) -> None:
    """Take a step on each batch in order, then go back to where `meta` of the way was done."""
    start = [value.detach().clone() for value in network.parameters()]
    for batch in batches:
        descend(loss_of(network(batch.images), batch.masks), descent)
    with torch.no_grad():
        for value, before in zip(network.parameters(), start, strict=True):
            value.copy_(torch.lerp(before, value, meta))


def train(
    config: Config, network: nn.Module, setting: Setting, batches: Iterator[list[Batch]], iterations: int
) -> None:
    """Train a network in place, one walk over all domains for each iteration."""
    descent: Descent | None = None
    for iteration, domains in enumerate(batches):
        descent = descent or descent_of(network, setting, iterations * len(domains))
        first = iteration % len(domains)
        walk(network, segmentation_loss, domains[first:] + domains[:first], descent, config.meta)


STRATEGY = multi_domain(Config, train)
