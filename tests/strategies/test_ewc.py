"""EWC: the Fisher diagonal against closed forms, and the sum over sites against its definition."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from strategies.common.importance import Anchor, parameters_of, quadratic
from strategies.ewc import Config, consolidate, fisher_diagonal


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


def visits(count: int) -> list[tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]]:
    generator = torch.Generator().manual_seed(0)
    form = {"weight": (1, 1, 1, 1), "bias": (1,)}
    draw = lambda: {name: torch.rand(shape, generator=generator) for name, shape in form.items()}  # noqa: E731
    return [(draw(), draw()) for _ in range(count)]


def test_one_quadratic_stands_for_the_sum_over_sites() -> None:
    anchor, seen = Anchor(one_weight(0.0)), visits(4)
    for weights, fisher in seen:
        consolidate(anchor, weights, fisher, Config())
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
        consolidate(anchor, weights, fisher, Config(online=True, decay=0.5))
    assert torch.equal(anchor.weights["weight"], seen[1][0]["weight"])
    torch.testing.assert_close(anchor.importance["bias"], 0.5 * seen[0][1]["bias"] + seen[1][1]["bias"])


def test_a_parameter_that_never_mattered_is_anchored_at_the_newest_site() -> None:
    network = one_weight(0.0)
    anchor = Anchor(network)
    consolidate(
        anchor, {name: value + 3 for name, value in parameters_of(network).items()}, anchor.importance, Config()
    )
    assert float(anchor.weights["weight"]) == pytest.approx(3.0)
