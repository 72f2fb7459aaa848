"""The bounds: a segmenter that stops learning, and one for each site that shares nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from simulator.store import Store

Run = Callable[..., Path]
Weights = dict[str, torch.Tensor]


def same(one: Weights, two: Weights) -> bool:
    return all(torch.equal(value, two[name]) for name, value in one.items())


def test_a_frozen_segmenter_learns_in_the_first_step_alone(run_tiny: Run) -> None:
    found = Store(run_tiny(strategy="frozen_first", arrivals=["A", "B", "C"])).predictors("A")
    assert not same(found[1], found[0])
    assert same(found[2], found[1])
    assert same(found[3], found[1])


def test_with_steps_enough_it_is_fine_tuning(run_tiny: Run) -> None:
    tuned = Store(run_tiny("tuned")).predictors("A")
    frozen = Store(run_tiny("frozen", strategy={"name": "frozen_first", "steps": 2})).predictors("A")
    assert same(tuned[2], frozen[2])


def test_a_site_of_its_own_owes_nothing_to_who_came_before(run_tiny: Run) -> None:
    after_a, after_c = (
        Store(run_tiny(first, strategy="per_site", arrivals=[first, "B"])).predictors("B")[2] for first in "AC"
    )
    assert same(after_a, after_c)


def test_a_site_of_its_own_keeps_its_segmenter_and_an_unseen_one_has_the_newest(run_tiny: Run) -> None:
    store = Store(run_tiny(strategy="per_site", arrivals=["A", "B"]))
    of_a, of_b, unseen = (store.predictors(site) for site in "ABE")
    assert same(of_a[1], of_a[2])
    assert not same(of_a[2], of_b[2])
    assert same(unseen[1], of_a[1])
    assert same(unseen[2], of_b[2])


def test_with_a_warm_start_a_site_builds_on_the_newest(run_tiny: Run) -> None:
    tuned = Store(run_tiny("tuned")).predictors("B")
    warm = Store(run_tiny("warm", strategy={"name": "per_site", "warm_start": True}))
    assert same(warm.predictors("B")[2], tuned[2])
    assert same(warm.predictors("A")[2], tuned[1])
