"""Corruption shows what it should, and sampling goes by its seed."""

from __future__ import annotations

import pytest
import torch

from sites.stream import Shape
from strategies.common.denoising import Corruption, sample
from strategies.common.diffusion import DiffusionConfig, Generator, build_generator


@pytest.fixture
def generator() -> Generator:
    shape = Shape(channels=1, height=16, width=16, slices=1, structures=("disc",))
    return build_generator(DiffusionConfig(start="random", widths=(8, 16), sampling_steps=4), shape, seed=0)


def test_one_seed_gives_the_same_pictures_however_they_are_batched(generator: Generator) -> None:
    one, two = sample(generator, 5, seed=9), sample(generator, 5, seed=9, batch=2)
    assert torch.allclose(one[0], two[0], atol=1e-4)
    assert not torch.equal(one[0], sample(generator, 5, seed=8)[0])


def test_mask_first_shows_the_clean_mask_to_most_and_counts_only_what_is_noisy(generator: Generator) -> None:
    pairs = torch.rand(8, *generator.size) * 2 - 1
    noisy, image_time, mask_time, _, weight = Corruption(generator, torch.Generator().manual_seed(0))(pairs)
    split = generator.image_channels
    assert torch.equal(noisy[:6, split:], pairs[:6, split:])
    assert mask_time[:6].tolist() == [0] * 6
    assert image_time[6:].tolist() == [999] * 2
    assert not weight[:6, split:].any()
    assert not weight[6:, :split].any()
    assert weight.mean() == pytest.approx(1.0)


def test_levels_without_noise_and_those_of_nothing_but_noise_count_least(generator: Generator) -> None:
    _, image_time, _, _, weight = Corruption(generator, torch.Generator().manual_seed(1))(
        torch.zeros(64, *generator.size)
    )
    times, each = image_time[:48], weight[:48, 0, 0, 0]
    middle = each[(times > 200) & (times < 500)].min()
    assert each[times < 50].max() < middle
    assert each[times > 900].max() < middle
    assert each.min() > 0


def test_noise_that_is_given_is_the_noise_that_is_used(generator: Generator) -> None:
    pairs, noise = torch.zeros(4, *generator.size), torch.ones(4, *generator.size)
    noisy = Corruption(generator, torch.Generator().manual_seed(0))(pairs, noise)[0]
    split = generator.image_channels
    assert (noisy[:2, :split] >= 0).all()
    assert noisy[:2, :split].flatten(1).std(1).max() < 1e-6
