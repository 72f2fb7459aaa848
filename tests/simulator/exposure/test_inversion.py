"""An image comes out of its own gradient, and not out of another's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from simulator.exposure.inversion import Update, gradient_of, invert
from simulator.exposure.statistics import likeness
from sites.sources.phantom import Phantom, PhantomConfig
from strategies.common.segmenter import slices_of

PHANTOM = Phantom("prostate", PhantomConfig(size=32, slices=1), 0)
STEPS = 100


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(2048, 1024), nn.Unflatten(1, (1, 32, 32))
    )


def given(number: int) -> tuple[Tensor, Tensor]:
    images, masks = slices_of(PHANTOM.train("A", number, 1))
    return images, masks.float()


def rebuilt(values: dict[str, Tensor], *, first_step: bool) -> Tensor:
    update = Update(values=values, first_step=first_step)
    image, mask = given(0)
    return invert(network(), update, tuple(image.shape), seed=1, steps=STEPS, masks=mask)


@pytest.mark.parametrize("first_step", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_image_is_rebuilt_from_its_gradient_or_the_signs_of_it(first_step: bool) -> None:
    gradient = gradient_of(network(), *given(0))
    left = {name: value.sign() if first_step else value for name, value in gradient.items()}
    made = rebuilt(left, first_step=first_step)
    assert likeness(made, given(0)[0]) > (0.35 if first_step else 0.8)
    assert likeness(made, given(0)[0]) > likeness(made, given(1)[0]) + 0.2
    assert made.min() >= 0
    assert made.max() <= 1


def test_noise_for_a_gradient_rebuilds_nothing() -> None:
    draws = torch.Generator().manual_seed(0)
    noise = {name: torch.randn(value.shape, generator=draws) for name, value in network().named_parameters()}
    assert likeness(rebuilt(noise, first_step=False), given(0)[0]) < 0.3


def test_masks_are_sought_where_they_are_not_given() -> None:
    image, mask = given(0)
    update = Update(values=gradient_of(network(), image, mask), first_step=False)
    made = invert(network(), update, tuple(image.shape), seed=1, steps=STEPS)
    assert likeness(made, image) > likeness(made, given(1)[0]) + 0.1
