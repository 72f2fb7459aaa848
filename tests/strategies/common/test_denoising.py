"""Corruption shows what it should, and sampling goes by its seed."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from sites.stream import Shape
from strategies.common.denoising import Corruption, noise_scheduler, paint, sample, sampling_times
from strategies.common.diffusion import DiffusionConfig, Generator, build_generator


@pytest.fixture
def generator() -> Generator:
    shape = Shape(channels=1, height=16, width=16, slices=1, structures=("disc",))
    return build_generator(DiffusionConfig(start="random", widths=(8, 16), sampling_steps=4), shape, seed=0)


def test_one_seed_gives_the_same_pictures(generator: Generator) -> None:
    one, two = sample(generator, 5, seed=9), sample(generator, 5, seed=9)
    assert torch.equal(one[0], two[0])
    assert not torch.equal(one[0], sample(generator, 5, seed=8)[0])


def test_an_image_is_made_for_a_mask_as_it_is_for_one_of_the_generators_own(generator: Generator) -> None:
    masks = sample(generator, 3, seed=9)[1]
    painted, held = paint(generator, masks, seed=4)
    assert painted.shape == (3, 1, 16, 16)
    assert torch.equal(painted, paint(generator, masks, seed=4)[0])
    assert not torch.allclose(painted, paint(generator, 1 - masks, seed=4)[0]), "an image goes by its mask"
    square = torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
    square[..., 4:9, 4:9] = 1
    speck = square.clone()
    speck[..., 12, 12] = 1
    assert held.dtype == torch.uint8
    assert (paint(generator, speck, seed=4)[1] != square).sum() == 4, "a speck goes, and a square's corners"
    assert 0 <= float(painted.min()) <= float(painted.max()) <= 1


class Exact(nn.Module):
    """The true velocity of pairs whose entries are Gaussian around a mean, which no training could better."""

    def __init__(self, generator: Generator, mean: float, deviation: float) -> None:
        super().__init__()
        self.config = generator.config.model_copy(update={"order": "joint", "sampling_steps": 12})
        self.size, self.mean, self.deviation = generator.size, mean, deviation

    def forward(self, noisy: Tensor, image_time: Tensor, mask_time: Tensor) -> Tensor:
        kept = noise_scheduler().alphas_cumprod[image_time].view(-1, 1, 1, 1)
        beyond = (noisy - kept.sqrt() * self.mean) / (kept * self.deviation**2 + 1 - kept)
        pairs = self.mean + kept.sqrt() * self.deviation**2 * beyond
        return kept.sqrt() * (1 - kept).sqrt() * beyond - (1 - kept).sqrt() * pairs

    def unfold(self, pairs: Tensor) -> tuple[Tensor, Tensor]:
        return pairs, pairs


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (0.3, 0.2)])
def test_an_exact_network_is_sampled_with_the_right_mean_and_spread(
    generator: Generator, mean: float, deviation: float
) -> None:
    made = sample(Exact(generator, mean, deviation), 64, seed=3)[0]
    assert float(made.mean()) == pytest.approx(mean, abs=0.02)
    assert float(made.std()) == pytest.approx(deviation, rel=0.06)


def test_sampling_begins_in_pure_noise_and_comes_down_level_by_level() -> None:
    times = sampling_times(12, clearest=3.0)
    assert times[0] == 999
    assert len(times) == 12
    assert all(later < earlier for earlier, later in pairwise(times))
    assert all(later < earlier for earlier, later in pairwise(sampling_times(500, clearest=3.0)))
    assert sampling_times(12, clearest=2.0)[-1] > times[-1]


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
