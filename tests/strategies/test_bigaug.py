"""BigAug: nine transforms, the pose of an image and of its mask together, all of it from a seed."""

from __future__ import annotations

from collections.abc import Callable

import torch

from sites.stream import Arrival
from strategies.bigaug import Config, Stack
from strategies.common.segmenter import slices_of

Disc = Callable[..., Arrival]


def test_image_and_mask_move_together(disc: Disc) -> None:
    images, masks = slices_of(disc().cases)
    pictures, labels = Stack(Config(probability=1.0), 0)(masks.float(), masks.float())
    assert pictures.shape == images.shape
    assert set(labels.unique().tolist()) <= {0.0, 1.0}
    assert not torch.equal(labels, masks.float())
    assert float(pictures[labels.bool()].mean()) > float(pictures[~labels.bool()].mean()) + 0.3


def test_the_same_seed_makes_the_same_pictures(disc: Disc) -> None:
    images, masks = slices_of(disc().cases)
    one, other, third = (Stack(Config(), seed)(images, masks.float())[0] for seed in (4, 4, 5))
    assert torch.equal(one, other)
    assert not torch.equal(one, third)
    assert 0 <= float(one.min()) <= float(one.max()) <= 1


def test_at_probability_zero_nothing_changes(disc: Disc) -> None:
    images, masks = slices_of(disc().cases)
    pictures, labels = Stack(Config(probability=0.0), 0)(images, masks.float())
    assert torch.equal(pictures, images)
    assert torch.equal(labels, masks.float())
