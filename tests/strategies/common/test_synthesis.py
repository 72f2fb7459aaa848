"""Synthesis: statistics that fit cost nothing, the adversarial term is a divergence, and images come to fit."""

from __future__ import annotations

import torch
from torch import nn
from torch.distributions import Bernoulli, kl_divergence
from torch.nn.functional import binary_cross_entropy_with_logits

from sites.stream import Shape
from strategies.common.segmenter import build_segmenter, train_segmenter
from strategies.common.synthesis import Painter, SynthesisConfig, synthesis_loss, synthesise, watched
from strategies.setting import Setting

ALONE = SynthesisConfig(images=8, batch=4, width=8, latent=4, steps=30, student_steps=2, learning_rate=1e-2)


def images_of(seed: int, count: int = 8) -> torch.Tensor:
    return torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(seed))


def test_a_batch_norm_that_sees_what_it_saw_is_at_no_distance() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3, momentum=1.0))
    network(images_of(0))
    network.eval()
    network.requires_grad_(False)
    with watched(network) as same:
        network(images_of(0))
    with watched(network) as other:
        network(images_of(0) + 1)
    assert float(same[0]) < 1e-5
    norm, seen = network[1], network[0](images_of(0) + 1)
    expected = (seen.mean((0, 2, 3)) - norm.running_mean).norm() + (seen.var((0, 2, 3)) - norm.running_var).norm()
    torch.testing.assert_close(other[0], expected)
    network(images_of(0))
    assert len(other) == 1, "nothing is watched any more"


class Constant(nn.Module):
    """Answers with the same logits whatever it sees, by way of a batch norm."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.norm, self.logits = nn.BatchNorm2d(1), logits

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = 0 * self.norm(images) + self.logits
        return answer


def test_the_terms_are_cross_entropy_with_its_own_answer_and_a_divergence_where_both_agree() -> None:
    said, answered = torch.tensor([2.0, -1.0, 0.5, -3.0]), torch.tensor([1.0, -2.0, -0.5, 3.0])
    teacher, student = (Constant(logits.view(1, 1, 1, 4)).eval() for logits in (said, answered))
    images = images_of(1)[:, :, :4, :4]
    bare = ALONE.model_copy(update={"statistics": 0.0, "confident": 0.0})
    found = synthesis_loss(bare, images, teacher, student)
    divergence = kl_divergence(Bernoulli(logits=said), Bernoulli(logits=answered))
    torch.testing.assert_close(found, -(divergence[:2].sum() / 4))
    sure = ALONE.model_copy(update={"statistics": 0.0, "confident": 1.0})
    torch.testing.assert_close(
        synthesis_loss(sure, images, teacher, None), binary_cross_entropy_with_logits(said, (said > 0).float())
    )


def test_made_images_fit_the_segmenter_far_better_than_noise(plain: Setting) -> None:
    network = build_segmenter(plain)
    dark = images_of(2, 16) / 4
    train_segmenter(network, plain, dark, (dark > 0.125).float(), iterations=20, seed=0)
    made = synthesise(ALONE, plain, network.state_dict(), seed=0)
    assert made.shape == (8, 1, 16, 16)
    network.eval()
    with torch.no_grad():
        losses = [float(synthesis_loss(ALONE, images, network, None)) for images in (made, images_of(3))]
    assert losses[0] < losses[1] / 2, losses
    assert torch.equal(made, synthesise(ALONE, plain, network.state_dict(), seed=0))
    assert not torch.equal(made, synthesise(ALONE, plain, network.state_dict(), seed=1))


def test_a_painter_paints_any_size_and_any_number_of_channels() -> None:
    shape = Shape(channels=3, height=18, width=22, slices=1, structures=("cup",))
    painted = Painter(ALONE, shape)(torch.randn(4, ALONE.latent))
    assert painted.shape == (4, 3, 18, 22)
    assert painted.min() >= 0
    assert painted.max() <= 1
