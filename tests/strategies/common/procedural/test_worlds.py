"""Worlds: pictures that differ from one another, with masks that belong to them."""

from __future__ import annotations

import numpy as np
import pytest

from strategies.common.procedural.worlds import make_world

WORLDS = [make_world(seed, 6, 32) for seed in range(12)]


@pytest.mark.parametrize("world", WORLDS)
def test_pictures_are_in_range_and_no_two_are_alike(world: object) -> None:
    images, masks = world.images, world.masks  # type: ignore[attr-defined]
    assert images.shape == (6, 3, 32, 32)
    assert masks.shape == (6, 2, 32, 32)
    assert 0 <= images.min() <= images.max() <= 1
    assert len({image.tobytes() for image in images}) == 6


def test_grey_worlds_have_equal_channels_and_single_ones_equal_masks() -> None:
    for world in WORLDS:
        assert world.grey == bool((world.images[:, 0] == world.images[:, 2]).all())
        if world.single:
            assert (world.masks[:, 0] == world.masks[:, 1]).all()
    assert len({world.grey for world in WORLDS}) == len({world.single for world in WORLDS}) == 2


def test_most_pictures_hold_the_first_structure() -> None:
    sizes = np.array([world.masks[:, 0].mean() for world in WORLDS])
    assert (sizes > 0.01).all()
    assert (sizes < 0.6).all()


def test_a_seed_decides() -> None:
    one, two, other = make_world(3, 2, 16), make_world(3, 2, 16), make_world(4, 2, 16)
    assert (one.images == two.images).all()
    assert not (one.images == other.images).all()
