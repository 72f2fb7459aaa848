"""An image in which the segmenter finds the mask costs less; the segmenter stays as it is and is not asked of noise."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sites.stream import Shape
from strategies.common.consistency import Consistency
from strategies.common.denoising import TIMESTEPS, noise_scheduler
from strategies.common.diffusion import DiffusionConfig, Generator, build_generator
from strategies.common.retention import fit, take

SHAPE = Shape(channels=1, height=16, width=16, slices=1, structures=("disc",))
CONFIG = DiffusionConfig(start="random", widths=(8, 16), batch=8, sampling_steps=2)


class Bright(nn.Module):
    """Takes what is brighter than half for the organ."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(20.0))

    def forward(self, images: Tensor) -> Tensor:
        return self.slope * (images - 0.5)


def squares(inside: float) -> tuple[Tensor, Tensor]:
    masks = torch.zeros(8, 1, 16, 16)
    masks[:, :, 4:10, 4:10] = 1
    return torch.where(masks.bool(), inside, 1 - inside), masks


def loss_of(predicted: Tensor, time: int, generator: Generator) -> Tensor:
    """What consistency costs where a generator predicts an image for the mask of a bright square."""
    _, masks = squares(0.9)
    pairs, wanted = generator.fold(*squares(0.9)), generator.fold(predicted, masks)
    kept = noise_scheduler().alphas_cumprod[time]
    noise = torch.randn(pairs.shape, generator=torch.Generator().manual_seed(0))
    noisy = kept.sqrt() * pairs + (1 - kept).sqrt() * noise
    answer = (kept.sqrt() * noisy - wanted) / (1 - kept).sqrt()
    return Consistency(Bright(), 1.0)(generator, pairs, noisy, torch.full((8,), time), answer)


@pytest.fixture
def generator() -> Generator:
    return build_generator(CONFIG, SHAPE, seed=0)


def test_an_image_in_which_the_mask_is_found_costs_less(generator: Generator) -> None:
    (bright, _), (dark, _) = squares(0.9), squares(0.1)
    assert float(loss_of(bright, 200, generator)) < 0.3
    assert float(loss_of(dark, 200, generator)) > 3


def test_the_loss_pulls_the_image_towards_its_mask(generator: Generator) -> None:
    grey = torch.full((8, 1, 16, 16), 0.5, requires_grad=True)
    loss_of(grey, 200, generator).backward()  # type: ignore[no-untyped-call]
    inside = squares(0.9)[1].bool()
    assert grey.grad is not None
    assert float(grey.grad[inside].mean()) < 0 < float(grey.grad[~inside].mean())


def test_a_prediction_out_of_noise_is_not_read(generator: Generator) -> None:
    (dark, _) = squares(0.1)
    assert float(loss_of(dark, TIMESTEPS - 1, generator)) == 0


def test_a_weight_changes_what_is_learnt_and_never_the_segmenter(generator: Generator) -> None:
    names = [name for name, _ in generator.named_parameters()]
    start, learnt, segmenter = take(generator, names), [], Bright()
    for weight in (0.0, 1.0):
        generator.load_state_dict(start)
        fit(generator, *squares(0.9), steps=2, seed=0, trained=names, consistency=Consistency(segmenter, weight))
        learnt.append(torch.cat([value.flatten() for value in take(generator, names).values()]))
    assert not torch.equal(*learnt)
    assert float(segmenter.slope.detach()) == 20.0
