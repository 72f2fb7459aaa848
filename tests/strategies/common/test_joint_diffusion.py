"""Bayesian Joint Diffusion: what the network is shown, what counts, and what teaching changes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from sites.stream import Arrival, Shape
from strategies.common.alignment import Domain
from strategies.common.denoising import Corruption, sample
from strategies.common.diffusion import DiffusionConfig, Generator, build_generator
from strategies.common.joint_diffusion import Adapter, Recalled, Shown, bayesian_joint_loss, teach
from strategies.common.segmenter import slices_of

CONFIG = DiffusionConfig(start="random", widths=(8, 16), order="joint", batch=4, sampling_steps=4, learning_rate=4e-3)
SHAPE = Shape(channels=1, height=16, width=16, slices=1, structures=("gland",))
SPLIT = 4


@pytest.fixture
def generator() -> Generator:
    return build_generator(CONFIG, SHAPE, 0)


def folded(count: int) -> Tensor:
    return torch.rand(count, 8, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1


def corruption(generator: Generator) -> Corruption:
    return Corruption(generator, torch.Generator().manual_seed(2))


class Witness(torch.nn.Module):
    """Stands in for a generator: notes what it is shown, and answers with zeros."""

    image_channels = SPLIT

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, noisy: Tensor, image_time: Tensor, mask_time: Tensor, tokens: Tensor) -> Tensor:
        self.shown.append((noisy, image_time, mask_time))
        return torch.zeros_like(noisy)


@pytest.mark.parametrize("shown", ["image", "mask"])
def test_one_half_is_shown_clean_and_the_error_of_the_other_is_added(generator: Generator, shown: Shown) -> None:
    witness: Any = Witness()
    pairs = folded(4)
    loss = bayesian_joint_loss(witness, corruption(generator), pairs, torch.zeros(4, 1, 32), shown)
    noisy, image_time, mask_time, velocity, _ = corruption(generator)(pairs)
    clean, other = (slice(0, SPLIT), slice(SPLIT, None)) if shown == "image" else (slice(SPLIT, None), slice(0, SPLIT))
    (both, *together), (given, *apart) = witness.shown
    assert torch.equal(both, noisy)
    assert all(torch.equal(time, image_time) for time in together)
    assert torch.equal(given[:, clean], pairs[:, clean])
    assert torch.equal(given[:, other], noisy[:, other])
    times = dict(zip(("image", "mask"), apart, strict=True))
    assert not times.pop(shown).any()
    assert torch.equal(times.popitem()[1], mask_time)
    zero = torch.zeros_like(velocity)
    torch.testing.assert_close(loss, mse_loss(zero, velocity) + mse_loss(zero[:, other], velocity[:, other]))


def test_without_a_half_shown_it_is_joint_denoising(generator: Generator) -> None:
    pairs, tokens = folded(4), generator.token.expand(4, -1, -1)
    noisy, image_time, mask_time, velocity, _ = corruption(generator)(pairs)
    plain = mse_loss(generator(noisy, image_time, mask_time, tokens), velocity)
    torch.testing.assert_close(bayesian_joint_loss(generator, corruption(generator), pairs, tokens, None), plain)


def test_an_adapter_is_a_residual_that_begins_next_to_nothing() -> None:
    adapter, embedding = Adapter(8), torch.randn(1, 8)
    torch.testing.assert_close(adapter(embedding), embedding, atol=1e-3, rtol=0)
    with torch.no_grad():
        adapter.gamma.fill_(1.0)
    torch.testing.assert_close(adapter(embedding) - embedding, adapter.fc(embedding))


def test_teaching_moves_the_token_and_all_diffusion_weights(generator: Generator, disc: Callable[..., Arrival]) -> None:
    before = copy.deepcopy(generator.state_dict())
    teach(generator, Domain(*slices_of(disc().cases)), [], steps=2, seed=0)
    unmoved = {name for name, value in generator.state_dict().items() if torch.equal(value, before[name])}
    assert unmoved == set()


@pytest.mark.slow
def test_an_earlier_site_is_held_by_its_replays(generator: Generator, disc: Callable[..., Arrival]) -> None:
    bright, dark = (Domain(*slices_of(disc(shade=shade).cases)) for shade in (0.0, 0.5))
    teach(generator, bright, [], steps=200, seed=0)
    token = generator.token.detach().clone()
    wanted = float(sample(generator, 8, 1)[0].mean())
    means = {}
    for name, past in (("alone", []), ("held", [Recalled(bright, token)])):
        later = copy.deepcopy(generator)
        teach(later, dark, past, steps=100, seed=0)
        with torch.no_grad():
            later.token.copy_(token)
        means[name] = float(sample(later, 8, 1)[0].mean())
    assert abs(means["held"] - wanted) < abs(means["alone"] - wanted) * 0.75, (wanted, means)
