"""Opponent colours: grey has no difference, false colours are drawn out, and all of it can be undone."""

from __future__ import annotations

import pytest
import torch

from strategies.common.colour import WIDER, for_opponent, from_opponent, to_opponent


def test_grey_is_lightness_alone() -> None:
    grey = torch.rand(2, 1, 4, 4).expand(-1, 3, -1, -1)
    turned = to_opponent(grey)
    assert torch.allclose(turned[:, 0], 3**0.5 * grey[:, 0], atol=1e-6)
    assert turned[:, 1:].abs().max() < 1e-5


def test_what_channels_differ_by_is_drawn_out_and_noise_stays_independent() -> None:
    noise = torch.randn(3, 200_000, generator=torch.Generator().manual_seed(0))
    spread = torch.cov(to_opponent(noise, dim=0))
    assert torch.allclose(spread, torch.diag(torch.tensor([1.0, WIDER**2, WIDER**2])), atol=0.15)


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_it_is_undone_along_any_axis_and_weights_follow(dim: int) -> None:
    values, weights = torch.rand(3, 3, 3), torch.rand(3, 3, 3)
    assert torch.allclose(from_opponent(to_opponent(values, dim), dim), values, atol=1e-6)
    product = (weights * values).sum(dim)
    assert torch.allclose((for_opponent(weights, dim) * to_opponent(values, dim)).sum(dim), product, atol=1e-5)
