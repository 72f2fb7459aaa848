"""A second toy site: without retention the first prompt is lost, with each way of retention it is held."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sites.stream import Shape
from strategies.common.denoising import sample
from strategies.common.diffusion import DiffusionConfig, Generator, build_generator
from strategies.common.retention import distil, fit, put, rehearse_replays, take

pytestmark = pytest.mark.slow  # four small trainings

SHAPE = Shape(channels=1, height=16, width=16, slices=1, structures=("disc",))
CONFIG = DiffusionConfig(start="random", widths=(16, 32), batch=16, learning_rate=5e-3, sampling_steps=8)


def discs(inside: float, seed: int) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    centres = 5 + 6 * torch.rand(64, 2, 1, 1, generator=draws)
    masks = ((rows - centres[:, 0]) ** 2 + (columns - centres[:, 1]) ** 2 < 12)[:, None]
    return torch.where(masks, inside, 0.5).clamp(0, 1), masks.to(torch.uint8)


def contrast(generator: Generator, token: Tensor) -> float:
    """How much brighter than its surroundings the disc is in what a token makes."""
    images, masks = sample(put(generator, {"token": token}), 32, seed=2)
    inside = masks.bool()
    return float(images[inside].mean() - images[~inside].mean())


@pytest.fixture(scope="module")
def bright() -> dict[str, Tensor]:
    """All parameters of a generator that has learnt bright discs."""
    generator = build_generator(CONFIG, SHAPE, seed=0)
    everything = [name for name, _ in generator.named_parameters()]
    fit(generator, *discs(0.95, seed=0), steps=300, seed=1, trained=everything)
    return take(generator, everything)


def after_dark(bright: dict[str, Tensor], hold: Callable[[Generator], object] | None) -> tuple[float, float]:
    """Teach dark discs under a token of their own; return the contrast under the first token, and under the new one."""
    before = put(build_generator(CONFIG, SHAPE, seed=0), bright)
    generator = put(build_generator(CONFIG, SHAPE, seed=0), {**bright, "token": -bright["token"]})
    rehearsal = hold(before) if hold else None
    fit(
        generator,
        *discs(0.05, seed=3),
        steps=250,
        seed=4,
        trained=list(bright),
        rehearsal=rehearsal,  # type: ignore[arg-type]
    )
    new = take(generator, ["token"])["token"]
    return contrast(generator, bright["token"]), contrast(generator, new)


def test_without_retention_the_first_prompt_is_lost(bright: dict[str, Tensor]) -> None:
    first, second = after_dark(bright, None)
    assert first < 0.0
    assert second < -0.2


def test_rehearsed_replays_hold_the_first_prompt(bright: dict[str, Tensor]) -> None:
    first, second = after_dark(bright, lambda before: rehearse_replays(before, [bright["token"]], 48, seed=7))
    assert first > 0.3
    assert second < -0.2


def test_distillation_holds_the_first_prompt(bright: dict[str, Tensor]) -> None:
    first, second = after_dark(bright, lambda before: distil(before, [bright["token"]], *discs(0.05, seed=3)))
    assert first > 0.15
    assert second < -0.2
