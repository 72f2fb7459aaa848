"""Mixup: labels are mixed with their images, in one proportion."""

from __future__ import annotations

import numpy as np
import torch

from strategies.mixup import mixed


def test_labels_mix_with_their_images() -> None:
    """Image and mask of slice i are both constant i, so that a mixture of one names the other."""
    values = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 1, 2, 2)
    images, masks = mixed(values, values, 0.5, np.random.default_rng(0))
    torch.testing.assert_close(images, masks)
    assert not torch.equal(images, values)
    assert 0 <= float(images.min()) <= float(images.max()) <= 7


def test_shares_follow_the_beta_distribution() -> None:
    images = torch.zeros(4000, 1, 1, 1)
    images[::2] = 1.0
    found, _ = mixed(images, images, 0.2, np.random.default_rng(0))
    between = float(((found > 0.1) & (found < 0.9)).float().mean())
    draws = np.random.default_rng(1).beta(0.2, 0.2, 4000)
    assert abs(between - 0.5 * float(((draws > 0.1) & (draws < 0.9)).mean())) < 0.03


def test_at_alpha_zero_nothing_is_mixed() -> None:
    images = torch.rand(4, 1, 2, 2)
    found, _ = mixed(images, images, 0.0, np.random.default_rng(0))
    assert found is images
