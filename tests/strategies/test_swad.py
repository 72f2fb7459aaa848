"""SWAD: the valley is found as the algorithm says, and exactly its weights are averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import nn

from sites.stream import Arrival
from strategies.swad import Config, Trail, divided, measure_norms, valley

CONFIG = Config(optimum=2, overfit=2, tolerance=1.3)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([9, 5, 3, 4, 3, 4, 9, 9, 2], (2, 5)),
        ([9, 8, 7, 6], (3, 3)),
        ([9, 5, 3, 4, 3, 3], (2, 5)),
        ([3, 4, 9, 9, 9], (0, 1)),
        ([9, 3, 4, 9, 3, 9], (1, 5)),
        ([1], (0, 0)),
    ],
)
def test_the_valley_is_found(losses: Sequence[float], expected: tuple[int, int]) -> None:
    assert valley(losses, CONFIG) == expected


def test_exactly_the_iterations_of_the_valley_are_averaged() -> None:
    network, trail = nn.Linear(1, 1, bias=False), Trail()
    passed: list[list[float]] = []
    for stretch in ([1.0, 2.0], [5.0], [3.0, 4.0, 8.0], [100.0]):
        passed.append(stretch)
        for value in stretch:
            nn.init.constant_(network.weight, value)
            trail.pass_through(network)
        trail.check()
    chosen = [value for stretch in passed[1:3] for value in stretch]
    assert trail.average(1, 2)["weight"].item() == pytest.approx(sum(chosen) / len(chosen))


def test_norms_are_measured_afresh() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1))
    images = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    measure_norms(network, {"0.weight": torch.full((1, 1, 1, 1), 3.0)}, images, 3)
    state = network.state_dict()
    torch.testing.assert_close(state["1.running_mean"], 3 * images.mean()[None])
    halves = torch.stack([(3 * part).var() for part in images.split(3)])
    torch.testing.assert_close(state["1.running_var"], halves.mean()[None])


def test_cases_that_validate_are_not_trained_on(disc: Callable[..., Arrival]) -> None:
    cases = disc().cases * 3
    training, validating = divided(list(range(12)))  # type: ignore[arg-type]
    assert sorted([*training, *validating]) == list(range(12))
    assert len(validating) == 3
    alone = cases[:1]
    assert divided(alone) == (alone, alone)
