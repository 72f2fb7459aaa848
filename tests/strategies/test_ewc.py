"""EWC: the sum over sites against its definition."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from strategies.common.importance import Anchor, parameters_of, quadratic
from strategies.ewc import Config, consolidate


def one_weight(value: float, bias: float = 0.0) -> nn.Conv2d:
    network = nn.Conv2d(1, 1, 1)
    nn.init.constant_(network.weight, value)
    nn.init.constant_(network.bias, bias)  # type: ignore[arg-type]
    return network


def visits(count: int) -> list[tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]]:
    generator = torch.Generator().manual_seed(0)
    form = {"weight": (1, 1, 1, 1), "bias": (1,)}
    draw = lambda: {name: torch.rand(shape, generator=generator) for name, shape in form.items()}  # noqa: E731
    return [(draw(), draw()) for _ in range(count)]


def test_one_quadratic_stands_for_the_sum_over_sites() -> None:
    anchor, seen = Anchor(one_weight(0.0)), visits(4)
    for weights, fisher in seen:
        consolidate(Config(), anchor, weights, fisher)
    slopes = []
    for at in (0.3, -2.0):
        network = one_weight(at, at)
        by_definition = torch.stack([quadratic(network, weights, fisher) for weights, fisher in seen]).sum()
        wanted = torch.autograd.grad(by_definition, list(network.parameters()))
        found = torch.autograd.grad(quadratic(network, anchor.weights, anchor.importance), list(network.parameters()))
        torch.testing.assert_close(found, wanted)
        slopes.append(found)
    assert not torch.equal(slopes[0][0], slopes[1][0])


def test_online_ewc_decays_and_is_anchored_at_the_newest_site() -> None:
    anchor, seen = Anchor(one_weight(0.0)), visits(2)
    for weights, fisher in seen:
        consolidate(Config(online=True, decay=0.5), anchor, weights, fisher)
    assert torch.equal(anchor.weights["weight"], seen[1][0]["weight"])
    torch.testing.assert_close(anchor.importance["bias"], 0.5 * seen[0][1]["bias"] + seen[1][1]["bias"])


def test_a_parameter_that_never_mattered_is_anchored_at_the_newest_site() -> None:
    network = one_weight(0.0)
    anchor = Anchor(network)
    moved = {name: value + 3 for name, value in parameters_of(network).items()}
    consolidate(Config(), anchor, moved, anchor.importance)
    assert float(anchor.weights["weight"]) == pytest.approx(3.0)
