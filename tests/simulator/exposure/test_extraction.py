"""Extraction finds what a generator repeats, and leaves alone what it does not."""

from __future__ import annotations

import torch

from simulator.exposure.extraction import extracted, repeated

DRAWS = torch.Generator().manual_seed(0)
IMAGES = torch.rand(40, 1, 16, 16, generator=DRAWS)


def test_a_near_copy_gives_its_image_away_and_no_other() -> None:
    made = IMAGES[[3, 7]] + 0.01 * torch.randn(2, 1, 16, 16, generator=DRAWS)
    assert extracted(IMAGES, made).nonzero().flatten().tolist() == [3, 7]


def test_fresh_images_give_nothing_away() -> None:
    assert not extracted(IMAGES, torch.rand(40, 1, 16, 16, generator=DRAWS)).any()


def test_the_attacker_keeps_what_is_made_again_and_again() -> None:
    twins = IMAGES[:1] + 0.01 * torch.randn(4, 1, 16, 16, generator=DRAWS)
    fresh = torch.rand(12, 1, 16, 16, generator=DRAWS)
    kept = repeated(torch.cat([fresh, twins]))
    assert torch.allclose(kept.mean(0), twins.mean(0), atol=1e-6)
