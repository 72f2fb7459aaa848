"""Augmentation: what changes, what stays, and that a seed decides it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from strategies.common.augmentation import Augmenter, moved


def slices(channels: int = 1, structures: int = 1) -> tuple[Tensor, Tensor]:
    images = torch.rand(8, channels, 24, 24, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(8, structures, 24, 24, dtype=torch.uint8)
    masks[:, :, 8:16, 8:16] = 1
    return images, masks


@pytest.mark.parametrize(("channels", "structures"), [(1, 1), (3, 2)])
def test_slices_change_and_stay_slices(channels: int, structures: int) -> None:
    images, masks = slices(channels, structures)
    changed, their_masks = Augmenter("standard", 0)(images, masks)
    assert changed.shape == images.shape
    assert their_masks.shape == masks.shape
    assert changed.dtype == their_masks.dtype == torch.float32
    assert type(changed) is type(their_masks) is Tensor
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 1
    assert set(their_masks.unique().tolist()) <= {0.0, 1.0}
    assert not torch.equal(changed, images)


def test_image_and_mask_move_together() -> None:
    masks = slices()[1]
    images, posed = Augmenter("standard", 1)(masks.float(), masks)
    inside = (images * posed).sum() / posed.sum()
    outside = (images * (1 - posed)).sum() / (1 - posed).sum()
    assert float(inside - outside) > 0.7
    assert not torch.equal(posed, masks.float())


def test_a_simulated_scanner_changes_all_images_alike() -> None:
    images = torch.full((3, 1, 8, 8), 0.5)
    shifted = Augmenter("none", 2).shifted(images)
    assert not torch.allclose(shifted, images)
    assert torch.equal(shifted[0], shifted[2])
    assert not torch.equal(shifted, Augmenter("none", 3).shifted(images))


def test_a_seed_decides() -> None:
    one, two, other = (Augmenter("standard", seed)(*slices())[0] for seed in (3, 3, 4))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_none_gives_back_what_it_gets() -> None:
    images, masks = slices()
    same, their_masks = Augmenter("none", 0)(images, masks)
    assert same is images
    assert torch.equal(their_masks, masks.float())


def test_moved_slices_keep_every_pixel_and_their_masks_go_along() -> None:
    images, masks = slices(3, 2)
    there, their_masks = moved(images, masks, 1 / 8, torch.Generator().manual_seed(0))
    ways = set()
    for image, mask, was, its_mask in zip(there, their_masks, images, masks.float(), strict=True):
        top, left = next((y, x) for y in range(-3, 4) for x in range(-3, 4) if _same(image, was, y, x))
        assert _same(mask, its_mask, top, left)
        ways.add((top, left))
    assert len(ways) > 4


def test_slices_stay_where_they_are_without_reach() -> None:
    images, masks = slices()
    there, their_masks = moved(images, masks, 0.0, torch.Generator())
    assert torch.equal(there, images)
    assert torch.equal(their_masks, masks.float())


def _same(one: Tensor, other: Tensor, top: int, left: int) -> bool:
    """Whether the middle of one image is that of the other, so many pixels away."""
    return torch.equal(one[:, 4:-4, 4:-4], other[:, 4 + top : 20 + top, 4 + left : 20 + left])
