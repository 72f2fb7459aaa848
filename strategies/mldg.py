"""MLDG: a step on some domains must also be a step forward on the one that was left out of it.

Li et al., "Learning to Generalize: Meta-Learning for Domain Generalization", AAAI 2018, algorithm 1: with F the loss on
the meta-train domains and G that on the meta-test one, minimise F(w) + weight G(w - inner grad F(w)). Every domain is
the meta-test one in turn. Where domains come from: `strategies/common/domains.py`. With `weight: 0` nothing is left but
training on the domains that are not left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call

from strategies.common.alignment import Batch
from strategies.common.domains import DomainsConfig, multi_domain
from strategies.common.segmenter import descend, descent_of, segmentation_loss
from strategies.setting import Setting

Loss = Callable[[Tensor, Tensor], Tensor]


class Config(DomainsConfig):
    """Settings of MLDG. weight: beta; inner: alpha, the inner step; exact: second order through the inner step."""

    weight: float = Field(default=1.0, ge=0)
    inner: float = Field(default=0.01, gt=0)
    exact: bool = True


def meta_loss(network: nn.Module, loss_of: Loss, seen: Sequence[Batch], left_out: Batch, config: Config) -> Tensor:
    """Return F(w) + weight G(w - inner grad F(w)), F being the mean over the domains seen."""
    parameters = dict(network.named_parameters())
    train = torch.stack([loss_of(network(batch.images), batch.masks) for batch in seen]).mean()
    steps = torch.autograd.grad(train, list(parameters.values()), create_graph=config.exact, retain_graph=True)
    moved = {name: w - config.inner * step for (name, w), step in zip(parameters.items(), steps, strict=True)}
    test = loss_of(functional_call(network, moved, (left_out.images,)), left_out.masks)
    return train + config.weight * test


def train(
    config: Config, network: nn.Module, setting: Setting, batches: Iterator[list[Batch]], iterations: int
) -> None:
    """Train a network in place, each domain left out in turn."""
    descent = descent_of(network, setting, iterations)
    for iteration, domains in enumerate(batches):
        left_out = domains.pop(iteration % len(domains))
        descend(meta_loss(network, segmentation_loss, domains, left_out, config), descent)


STRATEGY = multi_domain(Config, train)
