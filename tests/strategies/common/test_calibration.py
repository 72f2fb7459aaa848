"""A generator whose masks hold too much or too little of a structure is put right, and nothing else of it changes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sites.stream import Shape
from strategies.common.calibration import calibrate, shares
from strategies.common.denoising import paint, sample_masks
from strategies.common.diffusion import DiffusionConfig, Generator, build_generator
from strategies.common.retention import fit

SHAPE = Shape(channels=1, height=16, width=16, slices=1, structures=("disc", "cup"))
CONFIG = DiffusionConfig(start="random", widths=(8, 16), batch=16, steps=300, sampling_steps=6)


def masks() -> Tensor:
    """Two squares, one in the other, of three sizes."""
    made = torch.zeros(3, 2, 16, 16)
    for row, side in enumerate((8, 10, 12)):
        made[row, 0, 2 : 2 + side, 2 : 2 + side] = 1
        made[row, 1, 4 : side - 1, 4 : side - 1] = 1
    return made


@pytest.fixture(scope="module")
def taught() -> dict[str, Tensor]:
    generator = build_generator(CONFIG, SHAPE, seed=0)
    names = [name for name, _ in generator.named_parameters()]
    fit(generator, masks()[:, :1] * 0.5, masks(), steps=CONFIG.steps, seed=0, trained=names)
    return {name: value.detach().clone() for name, value in generator.state_dict().items()}


@pytest.fixture
def generator(taught: dict[str, Tensor]) -> Generator:
    generator = build_generator(CONFIG, SHAPE, seed=0)
    generator.load_state_dict(taught)
    return generator


def off(generator: Generator, seed: int) -> Tensor:
    return (shares(sample_masks(generator, 64, seed)) - shares(masks())).abs()


@pytest.mark.parametrize("drift", [-0.4, 0.4])
def test_masks_hold_as_much_of_each_structure_as_the_sites_own(generator: Generator, drift: float) -> None:
    with torch.no_grad():
        generator.unet.conv_out.bias[generator.image_channels :] += drift
    before = off(generator, seed=5)
    calibrate(generator, masks(), 64, seed=1)
    after = off(generator, seed=5)
    assert float(before.max()) > 0.1
    assert float(after.max()) < 0.04, "with other noise than it was calibrated with, too"


def test_nothing_changes_but_the_masks_biases(generator: Generator, taught: dict[str, Tensor]) -> None:
    images, _ = paint(generator, masks(), seed=3)
    calibrate(generator, 1 - masks(), 8, seed=1)
    now = generator.state_dict()
    assert [name for name in now if not torch.equal(now[name], taught[name])] == ["unet.conv_out.bias"]
    assert torch.equal(paint(generator, masks(), seed=3)[0], images)
