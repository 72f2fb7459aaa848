"""The backbone fits any shape, exactly where a shape has fewer channels; and it can be taught anew."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from sites.stream import Shape
from strategies.common.colour import to_opponent
from strategies.common.diffusion import DiffusionConfig, Generator, build_generator
from strategies.common.procedural import procedural_weights
from strategies.common.procedural.pretraining import pretrain


def generator(channels: int, structures: int, colours: Literal["opponent", "rgb"] = "opponent") -> Generator:
    names = tuple(f"s{row}" for row in range(structures))
    shape = Shape(channels=channels, height=16, width=16, slices=1, structures=names)
    return build_generator(DiffusionConfig(colours=colours), shape, seed=0)


def test_grey_with_one_structure_is_colour_with_copies() -> None:
    small, full = generator(1, 1), generator(3, 2, "rgb")
    pairs, times = torch.randn(2, *small.size), torch.tensor([3, 700])
    image, mask = pairs[:, :4], pairs[:, 4:]
    with torch.no_grad():
        one = small(pairs, times, times)
        two = full(torch.cat([image, image, image, mask, mask], dim=1), times, times)
    means = torch.cat([two[:, :12].view(2, 3, 4, 8, 8).mean(1), two[:, 12:].view(2, 2, 4, 8, 8).mean(1)], dim=1)
    assert torch.allclose(one, means, atol=1e-4)


def test_in_opponent_colours_it_does_what_it_does_in_red_green_and_blue() -> None:
    plain, opponent = generator(3, 2, "rgb"), generator(3, 2)
    images, masks, times = torch.rand(2, 3, 16, 16), torch.ones(2, 2, 16, 16), torch.tensor([3, 700])
    with torch.no_grad():
        one, two = (made(made.fold(images, masks), times, times) for made in (plain, opponent))
    turned = to_opponent(one[:, :12].unflatten(1, (3, 4))).flatten(1, 2)
    assert torch.allclose(torch.cat([turned, one[:, 12:]], dim=1), two, atol=1e-3)


@pytest.mark.parametrize(("channels", "structures"), [(1, 1), (1, 2), (3, 1), (3, 2), (2, 1), (1, 5)])
def test_any_shape_gets_weights_that_fit(channels: int, structures: int) -> None:
    made = generator(channels, structures)
    weights = procedural_weights(made.shape, fold=4)
    assert {name: value.shape for name, value in weights.items()} == {
        name: value.shape for name, value in made.state_dict().items()
    }


def test_the_seed_of_a_run_does_not_change_the_backbone() -> None:
    shape = generator(1, 1).shape
    one, two = (build_generator(DiffusionConfig(), shape, seed=seed) for seed in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_the_backbone_can_be_taught_anew() -> None:
    made = pretrain(worlds=3, pictures=2, steps=2)
    shipped = generator(3, 2).state_dict()
    assert {name: value.shape for name, value in made.items()} == {n: v.shape for n, v in shipped.items()}
    assert all(value.isfinite().all() for value in made.values())
