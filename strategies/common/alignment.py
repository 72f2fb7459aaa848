"""Parallel gradient alignment (PGA): train a segmenter so that the gradients of sites point the same way.

Xu et al., arXiv 2406.18037, approximate two alignments by the first-order Taylor expansion; of the method only the
abstract was at hand, so the form below is our reconstruction. With g = grad L(theta) and the inner step a,
L_B(theta - a g_A) = L_B(theta) - a g_A . g_B + O(a^2), so that lowering it raises the inner product of the gradients:

    J_ori = L_cur(theta) + L_rep(theta - a g_cur)     orientational: the newest site first, then past ones
    J_arb = L_i(theta)   + L_j(theta - a g_i)         arbitrary: a random ordered pair of sites (or splits)
    theta <- theta - eta grad(J_ori + lambda J_arb)

First-order mode stops the gradient through theta - a g. In a fixed order that gives the half of the gradient of
-a g_A . g_B that holds the second Hessian; over a random order it gives both, halved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim.swa_utils import AveragedModel, update_bn

from strategies import Diagnostic
from strategies.common.augmentation import Augmenter
from strategies.setting import Augmentation

Loss = Callable[[Tensor, Tensor], Tensor]
NORM_EVERY = 5
Term = Literal["orientational", "arbitrary", "plain"]


class AlignmentConfig(BaseModel):
    """Which terms of the alignment are on, and how strong.

    inner_step: a, in units of the parameters; weight: lambda; exact: second order through theta - a g
    scanners: show each side of a pair as one other, simulated scanner might have made it: where a schedule has
        augmentation, and at the first site, where nothing else can be paired
    averaged: span of the exponential moving average that the weights end as, as a share of the iterations; the learning
        rate then stays as it is, and batch norms measure all sites afresh (Izmailov et al., UAI 2018). 0: the last
        weights, after a rate that falls along a half cosine to zero
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    orientational: bool = True
    arbitrary: bool = True
    inner_step: float = Field(default=0.01, gt=0)
    weight: float = Field(default=1.0, ge=0)
    exact: bool = False
    scanners: bool = True
    averaged: float = Field(default=1 / 3, ge=0, le=1)


@dataclass(frozen=True)
class Batch:
    """Images float32 [N, C, H, W] in 0..1 with masks float32 [N, S, H, W] in 0..1."""

    images: Tensor
    masks: Tensor


@dataclass(frozen=True)
class Domain:
    """All that there is of one site: images float32 [N, C, H, W], masks [N, S, H, W]."""

    images: Tensor
    masks: Tensor

    def draw(self, count: int, generator: torch.Generator, augmenter: Augmenter) -> Batch:
        """Draw slices with replacement, and augment them."""
        rows = torch.randint(len(self.images), (count,), generator=generator)
        return Batch(*augmenter(self.images[rows], self.masks[rows]))


@dataclass
class Cosines:
    """The cosine between the two gradients of each term, iteration after iteration."""

    orientational: list[float] = field(default_factory=list)
    arbitrary: list[float] = field(default_factory=list)

    def diagnostics(self, site: str) -> list[Diagnostic]:
        """Return them as diagnostics of a site."""
        return [
            Diagnostic(name=f"cosine_{name}", site=site, index=index, value=value)
            for name, values in (("orientational", self.orientational), ("arbitrary", self.arbitrary))
            for index, value in enumerate(values)
        ]


def aligned_gradient(
    network: nn.Module, loss_of: Loss, first: Batch, second: Batch, *, inner_step: float, exact: bool
) -> tuple[list[Tensor], float]:
    """Return the gradient of L_first(theta) + L_second(theta - a g_first), and the cosine of its two gradients.

    The gradients come in the order of `network.parameters()`; the cosine is that of g_first with the gradient of
    the second loss at the moved point.
    """
    parameters = dict(network.named_parameters())
    loss = loss_of(network(first.images), first.masks)
    here = torch.autograd.grad(loss, list(parameters.values()), create_graph=exact)
    steps = here if exact else [gradient.detach() for gradient in here]
    moved = {name: value - inner_step * step for (name, value), step in zip(parameters.items(), steps, strict=True)}
    there_loss = loss_of(functional_call(network, moved, (second.images,)), second.masks)
    there = torch.autograd.grad(there_loss, list(moved.values()), retain_graph=exact)
    pull = torch.autograd.grad(there_loss, list(parameters.values())) if exact else there
    return [one.detach() + two for one, two in zip(here, pull, strict=True)], _cosine(here, there)


def train_aligned(
    network: nn.Module,
    loss_of: Loss,
    newest: Domain,
    past: Sequence[Domain],
    config: AlignmentConfig,
    *,
    optimizer: torch.optim.Optimizer,
    iterations: int,
    batch: int,
    seed: int,
    augmentation: Augmentation = "none",
) -> Cosines:
    """Train a network in place; every iteration sees `batch` slices in all, half of them on each side of one term.

    The term of an iteration is drawn, so that its gradient is that of J_ori + lambda J_arb on average: one of both at
    every iteration would cost twice the passes, over batches half as large. Without past sites the orientational term
    falls away, and the arbitrary one pairs the newest site with itself, under two simulated scanners where those are
    on. With both terms off this is plain training, half on the newest site, half on the past.
    """
    generator = torch.Generator().manual_seed(seed)
    augmenter = Augmenter(augmentation, seed)
    half, every, cosines = max(2, batch // 2), [*past, newest], Cosines()
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    scanners = config.scanners and (augmentation != "none" or not past)
    parameters = list(network.parameters())
    decay = 1 - 1 / max(1.0, config.averaged * iterations)
    average = AveragedModel(network, avg_fn=lambda mean, new, _: torch.lerp(mean, new, 1 - decay))
    network.train()
    for _ in range(iterations):
        term = _term(config, bool(past), generator)
        pair = _ordered_pair(every, generator) if term == "arbitrary" else (newest, _pick(past or [newest], generator))
        first, second = (domain.draw(half, generator, augmenter) for domain in pair)
        if scanners:
            first, second = (Batch(augmenter.shifted(drawn.images), drawn.masks) for drawn in (first, second))
        if term == "plain":
            gradient = _plain_gradient(network, loss_of, first, second)
        else:
            gradient, cosine = aligned_gradient(
                network, loss_of, first, second, inner_step=config.inner_step, exact=config.exact
            )
            getattr(cosines, term).append(cosine)
        for parameter, value in zip(parameters, gradient, strict=True):
            parameter.grad = value
        optimizer.step()
        if not config.averaged:
            schedule.step()
        average.update_parameters(network)
    network.load_state_dict(average.module.state_dict())
    if config.averaged:
        share, count = -(-batch // len(every)), max(1, iterations // NORM_EVERY)
        drawn = ([domain.draw(share, generator, augmenter).images for domain in every] for _ in range(count))
        update_bn(map(torch.cat, drawn), network)
    return cosines


def _term(config: AlignmentConfig, past: bool, generator: torch.Generator) -> Term:
    """Draw the term of an iteration: the arbitrary one `weight` times as often as the orientational (or plain) one."""
    other: Term = "orientational" if config.orientational and past else "plain"
    share = config.weight / (1 + config.weight) if config.arbitrary else 0.0
    return "arbitrary" if float(torch.rand((), generator=generator)) < share else other


def _plain_gradient(network: nn.Module, loss_of: Loss, first: Batch, second: Batch) -> list[Tensor]:
    """Return the gradient of L_first(theta) + L_second(theta): no inner step, so no alignment."""
    images, masks = torch.cat([first.images, second.images]), torch.cat([first.masks, second.masks])
    loss = 2.0 * loss_of(network(images), masks)
    return list(torch.autograd.grad(loss, list(network.parameters())))


def _pick(domains: Sequence[Domain], generator: torch.Generator) -> Domain:
    return domains[int(torch.randint(len(domains), (1,), generator=generator))]


def _ordered_pair(domains: Sequence[Domain], generator: torch.Generator) -> tuple[Domain, Domain]:
    """Return two different domains in random order, or the only one twice."""
    order = torch.randperm(len(domains), generator=generator)
    return domains[int(order[0])], domains[int(order[-1])]


def _cosine(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    one, two = (torch.cat([tensor.detach().flatten() for tensor in part]) for part in (first, second))
    return float(torch.nn.functional.cosine_similarity(one, two, dim=0))
