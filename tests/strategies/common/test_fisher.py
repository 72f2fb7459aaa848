"""The Fisher diagonal against closed forms."""

from __future__ import annotations

import torch
from torch import nn

from strategies.common.fisher import fisher_diagonal


def one_weight(value: float, bias: float = 0.0) -> nn.Conv2d:
    network = nn.Conv2d(1, 1, 1)
    nn.init.constant_(network.weight, value)
    nn.init.constant_(network.bias, bias)  # type: ignore[arg-type]
    return network


def test_the_fisher_of_a_logistic_regression_is_that_of_the_textbook() -> None:
    images = torch.rand(4000, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    fisher = fisher_diagonal(one_weight(2.0, -0.5), images, seed=1)
    p = torch.sigmoid(2 * images - 0.5)
    torch.testing.assert_close(fisher["weight"].squeeze(), (p * (1 - p) * images**2).mean(), rtol=0.05, atol=0)
    torch.testing.assert_close(fisher["bias"].squeeze(), (p * (1 - p)).mean(), rtol=0.05, atol=0)


def test_what_a_site_is_sure_of_has_no_fisher() -> None:
    fisher = fisher_diagonal(one_weight(60.0), torch.ones(5, 1, 3, 3), seed=0)
    assert float(fisher["weight"]) < 1e-6


def test_the_fisher_leaves_batch_norm_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fisher = fisher_diagonal(network, torch.rand(3, 1, 4, 4), seed=0)
    assert fisher.keys() == {name for name, _ in network.named_parameters()}
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
