"""Group DRO: the weights of domains follow the exponentiated update."""

from __future__ import annotations

import math

import pytest
import torch

from strategies.groupdro import reweighted


def test_weights_follow_the_exponentiated_update() -> None:
    weights, risks, rate = [0.2, 0.3, 0.5], [1.0, 0.1, 0.4], 0.7
    grown = [q * math.exp(rate * risk) for q, risk in zip(weights, risks, strict=True)]
    found = reweighted(torch.tensor(weights), torch.tensor(risks), rate)
    assert found.tolist() == pytest.approx([value / sum(grown) for value in grown])


def test_the_worst_domain_takes_over_and_no_gradient_goes_through_the_weights() -> None:
    weights, risks = torch.full((3,), 1 / 3), torch.tensor([0.2, 0.9, 0.4], requires_grad=True)
    for _ in range(100):
        weights = reweighted(weights, risks, 0.5)
    assert weights.argmax() == 1
    assert float(weights[1]) > 0.99
    (pull,) = torch.autograd.grad((weights * risks).sum(), risks)
    torch.testing.assert_close(pull, weights)


def test_at_rate_zero_all_domains_weigh_alike() -> None:
    weights = reweighted(torch.full((4,), 0.25), torch.rand(4), 0.0)
    torch.testing.assert_close(weights, torch.full((4,), 0.25))
