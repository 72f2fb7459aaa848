"""MLDG: its gradient against autograd, and against plain training where its weight is none."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from strategies.common.alignment import Batch
from strategies.mldg import Config, meta_loss


def squared(outputs: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    return (outputs - masks).square().mean()


def batch(seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(torch.randn(6, 3, generator=generator), torch.randn(6, 1, generator=generator))


@pytest.mark.parametrize("exact", [True, False])
def test_its_gradient_is_that_of_the_closed_form(exact: bool) -> None:
    """For linear least squares the Hessian H of F is constant: grad = gF + b (I - a H) gG(w - a gF)."""
    network = nn.Linear(3, 1, bias=False).double()
    seen, left_out = [batch(0), batch(1)], batch(2)
    seen = [Batch(one.images.double(), one.masks.double()) for one in seen]
    left_out = Batch(left_out.images.double(), left_out.masks.double())
    config = Config(weight=0.7, inner=0.05, exact=exact)
    torch.autograd.backward(meta_loss(network, squared, seen, left_out, config))
    x, y = (torch.cat([getattr(one, what) for one in seen]) for what in ("images", "masks"))
    weight = network.weight.detach().T
    hessian = 2 * x.T @ x / len(x)
    gradient = 2 * x.T @ (x @ weight - y) / len(x)
    moved = weight - 0.05 * gradient
    test = 2 * left_out.images.T @ (left_out.images @ moved - left_out.masks) / len(left_out.images)
    through = torch.eye(3).double() - 0.05 * hessian if exact else torch.eye(3).double()
    assert network.weight.grad is not None
    torch.testing.assert_close(network.weight.grad.T, gradient + 0.7 * through @ test)


def test_without_weight_only_the_domains_seen_count() -> None:
    network = nn.Linear(3, 1, bias=False)
    found = meta_loss(network, squared, [batch(0)], batch(1), Config(weight=0))
    assert float(found.detach()) == pytest.approx(float(squared(network(batch(0).images), batch(0).masks).detach()))
