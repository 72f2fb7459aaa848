"""Randomness comes from a run's seed and its purpose, and a site's randomness touches nobody else's."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sites.seeds import seed_of, seeded

purposes = st.lists(st.text(max_size=4) | st.integers(0, 99), max_size=4).map(tuple)


def drawn() -> tuple[float, float, float]:
    """Draw a number from each of the three generators."""
    return random.random(), float(np.random.random()), float(torch.rand(()))


def test_a_seed_is_this_number_in_every_version() -> None:
    assert seed_of(0, "learn", "A", 1, 1) == 3320823811359963052
    assert seed_of(7) == 1320494719199842095


@given(one=st.tuples(st.integers(0, 9), purposes), other=st.tuples(st.integers(0, 9), purposes))
def test_two_purposes_have_one_seed_only_where_they_are_the_same(
    one: tuple[int, tuple[str | int, ...]], other: tuple[int, tuple[str | int, ...]]
) -> None:
    assert (seed_of(one[0], *one[1]) == seed_of(other[0], *other[1])) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [((0, "A", 11), (0, "A1", 1)), ((0, 1, 12), (0, 11, 2)), ((0, "1"), (0, 1)), ((0, "a, b"), (0, "a", "b"))],
)
def test_purposes_that_read_alike_have_seeds_of_their_own(one: tuple[int], other: tuple[int]) -> None:
    assert seed_of(*one) != seed_of(*other)


@given(run=st.integers(0, 2**31 - 1), purpose=purposes)
def test_every_generator_takes_every_seed(run: int, purpose: tuple[str | int, ...]) -> None:
    assert 0 <= seed_of(run, *purpose) < 2**63
    with seeded(seed_of(run, *purpose)):
        first = drawn()
    with seeded(seed_of(run, *purpose)):
        assert drawn() == first


def test_another_seed_draws_other_numbers_from_each_generator() -> None:
    with seeded(1):
        one = drawn()
    with seeded(2):
        other = drawn()
    assert all(a != b for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("fails", [False, True])
def test_all_is_put_back_also_after_a_failure(fails: bool) -> None:
    threads = torch.get_num_threads()
    with seeded(5):
        drawn()
        expected = drawn()
    try:
        torch.set_num_threads(2)
        with seeded(5):
            drawn()
            try:
                with seeded(6):
                    drawn()
                    torch.set_num_threads(2)
                    if fails:
                        raise ZeroDivisionError
            except ZeroDivisionError:
                assert fails
            assert drawn() == expected
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
