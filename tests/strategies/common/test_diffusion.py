"""The generator learns what two toy sites look like, tells them apart by prompt, and keeps mask and image together."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sites.stream import Shape
from strategies.common.diffusion import (
    Corruption,
    DiffusionConfig,
    Generator,
    build_generator,
    deep_prompt_names,
    sample,
)
from strategies.common.retention import fit, put, take

GREY = Shape(channels=1, height=16, width=16, slices=1, structures=("disc",))
COLOUR = Shape(channels=3, height=16, width=24, slices=1, structures=("cup", "disc"))
FAST: dict[str, Any] = {"widths": (16, 32), "batch": 16, "learning_rate": 5e-3, "sampling_steps": 8}


def discs(count: int, inside: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Bright or dark discs of random place on mid grey, with their masks."""
    draws = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    centres = 5 + 6 * torch.rand(count, 2, 1, 1, generator=draws)
    masks = ((rows - centres[:, 0]) ** 2 + (columns - centres[:, 1]) ** 2 < 12)[:, None]
    images = torch.where(masks, inside, 0.5) + 0.02 * torch.randn(masks.shape, generator=draws)
    return images.clamp(0, 1), masks.to(torch.uint8)


def contrast(images: Tensor, masks: Tensor) -> float:
    """The mean of the image inside its mask, less that outside."""
    inside = masks.bool().expand_as(images)
    return float(images[inside].mean() - images[~inside].mean())


@pytest.fixture(scope="module")
def learnt() -> dict[str, tuple[Generator, tuple[Tensor, Tensor]]]:
    """A generator of each order, after 400 steps on bright discs, with what it makes."""
    found = {}
    for order in ("joint", "mask_first"):
        generator = build_generator(DiffusionConfig(**FAST, order=order), GREY, seed=0)
        everything = [name for name, _ in generator.named_parameters()]
        fit(generator, *discs(64, inside=0.95), steps=400, seed=1, trained=everything)
        found[order] = (generator, sample(generator, 32, seed=2))
    return found


@pytest.mark.parametrize("order", ["joint", "mask_first"])
class TestWhatIsLearnt:
    def test_masks_are_about_as_large_as_real_ones(self, order: str, learnt: dict[str, Any]) -> None:
        real = float(discs(64, inside=0.95)[1].float().mean())
        assert float(learnt[order][1][1].float().mean()) == pytest.approx(real, rel=0.35)

    def test_the_image_is_bright_where_its_mask_is(self, order: str, learnt: dict[str, Any]) -> None:
        assert contrast(*learnt[order][1]) > 0.3

    def test_no_two_pictures_are_alike(self, order: str, learnt: dict[str, Any]) -> None:
        masks = learnt[order][1][1].flatten(1).float()
        assert len(torch.unique(masks, dim=0)) > 24


def test_another_prompt_on_the_same_backbone_makes_another_site(learnt: dict[str, Any]) -> None:
    bright, pictures = learnt["mask_first"]
    names = deep_prompt_names(bright)
    backbone = {name: value.detach().clone() for name, value in bright.named_parameters()}
    prompts = {"bright": take(bright, names)}
    generator = put(build_generator(bright.config, GREY, seed=0), backbone)
    fit(generator, *discs(64, inside=0.05, seed=3), steps=250, seed=4, trained=names)
    prompts["dark"] = take(generator, names)
    for name, value in generator.named_parameters():
        assert name in names or torch.equal(value, backbone[name]), "the backbone is frozen"
    assert contrast(*sample(generator, 32, seed=2)) < -0.2
    again = sample(put(generator, prompts["bright"]), 32, seed=2)
    assert all(torch.equal(one, two) for one, two in zip(again, pictures, strict=True)), "nothing is forgotten"


@pytest.mark.parametrize("conditioning", ["film", "cross_attention"])
@pytest.mark.parametrize("shape", [GREY, COLOUR], ids=["grey", "colour"])
def test_every_shape_and_conditioning_trains_and_samples(conditioning: str, shape: Shape) -> None:
    config = DiffusionConfig(**FAST, conditioning=conditioning, tokens=2)
    generator = build_generator(config, shape, seed=0)
    images = torch.rand(4, shape.channels, shape.height, shape.width)
    masks = torch.ones(4, len(shape.structures), shape.height, shape.width, dtype=torch.uint8)
    before = take(generator, ["token"])["token"]
    fit(generator, images, masks, steps=4, seed=0, trained=["token"])
    assert not torch.equal(take(generator, ["token"])["token"], before), "the prompt reaches the loss"
    made_images, made_masks = sample(generator, 3, seed=0)
    assert made_images.shape == (3, *images.shape[1:])
    assert made_masks.shape == (3, *masks.shape[1:])
    assert made_masks.dtype == torch.uint8
    assert 0 <= made_images.min() <= made_images.max() <= 1


def test_folding_is_undone() -> None:
    generator = build_generator(DiffusionConfig(**FAST), COLOUR, seed=0)
    images = torch.rand(2, 3, 16, 24)
    masks = torch.zeros(2, 2, 16, 24, dtype=torch.uint8)
    masks[:, 0, 4:8, 4:8] = 1
    masks[:, 1, 2:12, 2:12] = 1
    back_images, back_masks = generator.unfold(generator.fold(images, masks))
    assert torch.allclose(back_images, images, atol=1e-6)
    assert (back_masks != masks).float().mean() < 0.02, "only corners are rounded by the soft rim"


def test_one_seed_gives_the_same_pictures_however_they_are_batched() -> None:
    generator = build_generator(DiffusionConfig(**FAST), GREY, seed=0)
    one, two = sample(generator, 5, seed=9), sample(generator, 5, seed=9, batch=2)
    assert torch.allclose(one[0], two[0], atol=1e-4)
    assert not torch.equal(one[0], sample(generator, 5, seed=8)[0])


def test_mask_first_shows_the_clean_mask_to_one_half_and_counts_only_what_is_noisy() -> None:
    generator = build_generator(DiffusionConfig(**FAST), GREY, seed=0)
    pairs = generator.fold(*discs(8, inside=0.9))
    noisy, image_time, mask_time, _, weight = Corruption(generator, torch.Generator().manual_seed(0))(pairs)
    split = generator.image_channels
    assert torch.equal(noisy[:4, split:], pairs[:4, split:])
    assert mask_time[:4].tolist() == [0] * 4
    assert image_time[4:].tolist() == [999] * 4
    assert not weight[:4, split:].any()
    assert not weight[4:, :split].any()
    assert weight.mean() == pytest.approx(1.0)


def test_the_deep_prompt_is_a_small_part_of_the_generator() -> None:
    generator = build_generator(DiffusionConfig(), GREY, seed=0)
    deep = sum(value.numel() for value in take(generator, deep_prompt_names(generator)).values())
    assert 0 < deep < 0.03 * sum(value.numel() for value in generator.parameters())
