"""The generator learns what two toy sites look like, tells them apart by prompt, and keeps mask and image together."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sites.stream import Shape
from strategies.common.denoising import sample
from strategies.common.diffusion import DiffusionConfig, Generator, build_generator, deep_prompt_names
from strategies.common.retention import fit, put, take

Learnt = tuple[Generator, tuple[Tensor, Tensor]]

GREY = Shape(channels=1, height=16, width=16, slices=1, structures=("disc",))
COLOUR = Shape(channels=3, height=16, width=24, slices=1, structures=("cup", "disc"))
FAST: dict[str, Any] = {"start": "random", "widths": (16, 32), "batch": 16, "learning_rate": 5e-3, "sampling_steps": 8}


def discs(count: int, inside: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Bright or dark discs of random place on mid grey, with their masks."""
    draws = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    centres = 5 + 6 * torch.rand(count, 2, 1, 1, generator=draws)
    masks = ((rows - centres[:, 0]) ** 2 + (columns - centres[:, 1]) ** 2 < 12)[:, None]
    images = torch.where(masks, inside, 0.5) + 0.02 * torch.randn(masks.shape, generator=draws)
    return images.clamp(0, 1), masks.to(torch.uint8)


@pytest.mark.parametrize(
    ("settings", "first", "later"),
    [
        ({"steps": 5}, 5, 5),
        ({"steps": 5, "head_start": 3}, 8, 5),
        ({"start": "random", "steps": 5, "first_steps": 7, "head_start": 3}, 7, 5),
    ],
)
def test_the_very_first_site_may_take_more_steps(settings: dict[str, Any], first: int, later: int) -> None:
    config = DiffusionConfig(**settings)
    assert (config.steps_of(first=True), config.steps_of(first=False)) == (first, later)


def contrast(images: Tensor, masks: Tensor) -> float:
    """The mean of the image inside its mask, less that outside."""
    inside = masks.bool().expand_as(images)
    return float(images[inside].mean() - images[~inside].mean())


@pytest.fixture(scope="module", params=["mask_first", "joint"])
def learnt(request: pytest.FixtureRequest) -> Learnt:
    """A generator of each order, after 400 steps on bright discs, with what it makes."""
    generator = build_generator(DiffusionConfig(**FAST, order=request.param), GREY, seed=0)
    everything = [name for name, _ in generator.named_parameters()]
    fit(generator, *discs(64, inside=0.95), steps=400, seed=1, trained=everything)
    return generator, sample(generator, 32, seed=2)


@pytest.mark.slow
class TestWhatIsLearnt:
    def test_masks_are_about_as_large_as_real_ones(self, learnt: Learnt) -> None:
        real = float(discs(64, inside=0.95)[1].float().mean())
        assert float(learnt[1][1].float().mean()) == pytest.approx(real, rel=0.35)

    def test_the_image_is_bright_where_its_mask_is(self, learnt: Learnt) -> None:
        assert contrast(*learnt[1]) > 0.3

    def test_no_two_pictures_are_alike(self, learnt: Learnt) -> None:
        masks = learnt[1][1].flatten(1).float()
        assert len(torch.unique(masks, dim=0)) > 24


@pytest.mark.slow
@pytest.mark.parametrize("learnt", ["mask_first"], indirect=True)
def test_another_prompt_on_the_same_backbone_makes_another_site(learnt: Learnt) -> None:
    bright, pictures = learnt
    names = deep_prompt_names(bright)
    backbone = {name: value.detach().clone() for name, value in bright.named_parameters()}
    prompts = {"bright": take(bright, names)}
    generator = put(build_generator(bright.config, GREY, seed=0), backbone)
    fit(generator, *discs(64, inside=0.05, seed=3), steps=250, seed=4, trained=names)
    prompts["dark"] = take(generator, names)
    for name, value in generator.named_parameters():
        assert name in names or torch.equal(value, backbone[name]), "the backbone is frozen"
    assert contrast(*sample(generator, 32, seed=2)) < -0.05
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


@pytest.mark.parametrize("shape", [GREY, COLOUR], ids=["grey", "colour"])
def test_the_deep_prompt_is_less_than_a_hundredth_of_the_generator(shape: Shape) -> None:
    generator = build_generator(DiffusionConfig(), shape, seed=0)
    deep = sum(value.numel() for value in take(generator, deep_prompt_names(generator)).values())
    assert 0 < deep < 0.01 * sum(value.numel() for value in generator.parameters())


def test_adapters_change_nothing_until_they_learn() -> None:
    config = DiffusionConfig(**FAST)
    plain, adapted = build_generator(config, GREY, seed=0), build_generator(config, GREY, seed=0, rank=2)
    pairs, times = torch.rand(2, *plain.size), torch.tensor([5, 900])
    with torch.no_grad():
        assert torch.allclose(plain(pairs, times, times), adapted(pairs, times, times), atol=1e-5)
    names = deep_prompt_names(adapted)
    before = take(adapted, names)
    fit(adapted, *discs(8, inside=0.9), steps=3, seed=0, trained=names)
    ups = [name for name in names if name.endswith(".up")]
    assert len(ups) > 10
    assert all(not torch.equal(before[name], take(adapted, [name])[name]) for name in ups)


@pytest.mark.parametrize("change", [{"widths": (8, 16)}, {"conditioning": "cross_attention"}, {"unshuffle": 4}])
def test_a_form_that_the_backbone_does_not_have_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="start: random"):
        DiffusionConfig(**change)
    assert DiffusionConfig(**change, start="random").start == "random"
