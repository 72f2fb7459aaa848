"""V-REx: the penalty is the variance of the risks."""

from __future__ import annotations

import statistics

import pytest
import torch

from strategies.vrex import extrapolated


def test_the_penalty_is_the_variance_of_the_risks() -> None:
    risks = [0.3, 0.9, 0.4]
    expected = statistics.mean(risks) + 7 * statistics.pvariance(risks)
    assert float(extrapolated(torch.tensor(risks), 7.0)) == pytest.approx(expected)


def test_equal_risks_and_a_single_one_have_no_penalty() -> None:
    for risks in (torch.full((4,), 0.5), torch.tensor([0.5])):
        assert float(extrapolated(risks, 100.0)) == pytest.approx(0.5)


def test_it_pulls_a_high_risk_down_and_lets_a_low_one_rise() -> None:
    risks = torch.tensor([0.2, 1.0], requires_grad=True)
    (pull,) = torch.autograd.grad(extrapolated(risks, 10.0), risks)
    torch.testing.assert_close(pull, torch.tensor([0.5 + 10 * -0.4, 0.5 + 10 * 0.4]))
