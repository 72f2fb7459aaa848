"""PLOP: the pooling against its definition, and a loss that is zero where no feature changed."""

from __future__ import annotations

import torch

from sites.stream import Shape
from strategies.common.segmenter import build_segmenter
from strategies.plop import Features, local_pod, pooled
from strategies.setting import Budget, NetworkConfig, Setting


def setting_of(residual_units: int, seed: int = 0) -> Setting:
    return Setting(
        shape=Shape(channels=1, height=16, width=16, slices=1, structures=("square",)),
        network=NetworkConfig(widths=(4, 8, 16), residual_units=residual_units),
        budget=Budget(iterations=1),
        augmentation="none",
        seed=seed,
        sites=("A",),
        most_cases=1,
    )


def test_one_scale_is_the_mean_over_width_and_over_height() -> None:
    found = pooled(torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]]), scales=1)
    assert found.tolist() == [[1.5, 4.5, 2.0, 4.0]]


def test_a_second_scale_adds_the_strips_of_four_quarters() -> None:
    features = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    found = pooled(features, scales=2)
    assert found.shape == (2, 3 * (8 + 8) + 4 * 3 * (4 + 4))
    torch.testing.assert_close(found[:, 48:60], features[:, :, :4, :4].mean(-1).flatten(1))


def test_a_map_too_small_for_a_scale_is_pooled_at_the_others() -> None:
    assert torch.equal(pooled(torch.ones(1, 1, 1, 1), scales=4), torch.ones(1, 2))


def test_the_loss_is_zero_at_the_old_segmenter_and_reaches_every_block() -> None:
    images = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    for residual_units in (0, 1, 2):
        new, old, other = (build_segmenter(setting_of(residual_units, seed)).eval() for seed in (0, 0, 1))
        features = Features(new)(images)
        assert len(features) >= 2 * 3 - 1
        assert local_pod(features, Features(old)(images), 3).item() == 0.0
        local_pod(features, Features(other)(images), 3).backward()
        blind = [name for name, value in new.named_parameters() if value.grad is None]
        assert blind == []
