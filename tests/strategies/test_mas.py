"""MAS: the importance against the analytic gradient of the output's squared norm."""

from __future__ import annotations

import torch
from torch import nn

from strategies.mas import output_sensitivity


def test_the_importance_of_a_linear_map_is_the_analytic_one() -> None:
    network = nn.Conv2d(1, 1, 1)
    nn.init.constant_(network.weight, -2.0)
    nn.init.constant_(network.bias, 0.5)  # type: ignore[arg-type]
    images = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    importance = output_sensitivity(network, images)
    outputs = -2 * images + 0.5
    by_slice = (2 * outputs * images).mean(dim=(1, 2, 3))
    torch.testing.assert_close(importance["weight"].squeeze(), by_slice.abs().mean())
    torch.testing.assert_close(importance["bias"].squeeze(), (2 * outputs).mean(dim=(1, 2, 3)).abs().mean())


def test_slices_that_pull_opposite_ways_do_not_cancel() -> None:
    network = nn.Conv2d(1, 1, 1)
    nn.init.constant_(network.weight, 1.0)
    nn.init.constant_(network.bias, 0.0)  # type: ignore[arg-type]
    images = torch.stack([torch.full((1, 2, 2), 1.0), torch.full((1, 2, 2), -1.0)])
    torch.testing.assert_close(output_sensitivity(network, images)["bias"], torch.tensor([2.0]))


def test_measuring_leaves_batch_norm_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    output_sensitivity(network, torch.rand(3, 1, 4, 4))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
