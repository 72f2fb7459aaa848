"""Images made from a segmenter's weights and no data: a generator for which its batch norms see what they saw before.

As TARGET (Zhang et al., ICCV 2023, arXiv 2303.06937) does it for classifiers, after its abstract and the authors' code;
the matching of statistics is from DeepInversion (Yin et al., CVPR 2020). For noise z, images x = G(z), a segmenter f:

    L(G, z) = statistics * sum_l (|mean_l - running mean_l| + |var_l - running var_l|)
            + confident * L_CE(f(x), [f(x) > 0])
            - adversarial * KL(f(x) || student(x)), where both agree

with the sum over the batch norms of f. The student learns from the images made so far, so each new batch has to show
what they don't.

Ours: a pixel takes the place of an image's class, a sigmoid that of the softmax; the labels to reach are the
segmenter's own answers (the paper draws classes at random, but a mask drawn at random is no anatomy); plain gradient
steps stand in the place of first-order meta-learning.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from sites.seeds import torch_seeded
from sites.stream import Shape
from sites.wire import Weights
from strategies import StrategyConfig
from strategies.common.distillation import distillation
from strategies.common.segmenter import Descent, build_segmenter, descend, descent_of
from strategies.setting import Setting


class SynthesisConfig(StrategyConfig):
    """The generator's form, budget and losses.

    images: how many are made, `batch` at a time
    latent: numbers that an image is made from; width: channels of the generator
    steps: gradient steps for a batch of images; student_steps: of the student, after each batch
    statistics, confident, adversarial: weights of the losses; temperature: softness of what the student is taught
    """

    images: int = Field(default=128, ge=0)
    batch: int = Field(default=32, ge=2)
    latent: int = Field(default=64, ge=1)
    width: int = Field(default=32, ge=1)
    steps: int = Field(default=40, ge=1)
    student_steps: int = Field(default=20, ge=1)
    learning_rate: float = Field(default=5e-3, gt=0)
    statistics: float = Field(default=10.0, ge=0)
    confident: float = Field(default=0.5, ge=0)
    adversarial: float = Field(default=1.0, ge=0)
    temperature: float = Field(default=2.0, gt=0)


class Painter(nn.Module):
    """The generator: noise [N, latent] to images [N, C, H, W] in 0..1."""

    def __init__(self, config: SynthesisConfig, shape: Shape) -> None:
        super().__init__()
        wide, size = 2 * config.width, (shape.height, shape.width)
        half, quarter = (tuple(-(-length // part) for length in size) for part in (2, 4))
        self.layers = nn.Sequential(
            nn.Linear(config.latent, wide * quarter[0] * quarter[1]),
            nn.Unflatten(1, (wide, *quarter)),
            nn.BatchNorm2d(wide),
            nn.Upsample(size=half),
            nn.Conv2d(wide, wide, 3, padding=1, bias=False),
            nn.BatchNorm2d(wide),
            nn.LeakyReLU(0.2),
            nn.Upsample(size=size),
            nn.Conv2d(wide, config.width, 3, padding=1, bias=False),
            nn.BatchNorm2d(config.width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(config.width, shape.channels, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, noise: Tensor) -> Tensor:
        images: Tensor = self.layers(noise)
        return images


def synthesise(config: SynthesisConfig, setting: Setting, segmenter: Weights, seed: int) -> Tensor:
    """Make `config.images` images [N, C, H, W] in 0..1 from a segmenter's weights and nothing else."""
    teacher, student = build_segmenter(setting).eval(), build_segmenter(setting)
    teacher.load_state_dict(dict(segmenter))
    teacher.requires_grad_(False)
    descent = descent_of(student, setting, config.student_steps * -(-config.images // config.batch))
    with torch_seeded(seed):
        painter, pool = Painter(config, setting.shape), blank_images(config, setting.shape, "cpu")[:0]
        while len(pool) < config.images:
            rival = student if len(pool) else None
            pool = torch.cat([pool, paint(config, painter, teacher, rival)])
            rehearse(config, student, teacher, pool, descent)
    return pool[: config.images]


def paint(config: SynthesisConfig, painter: Painter, teacher: nn.Module, student: nn.Module | None) -> Tensor:
    """Train the painter, and the noise that it starts from, for one batch; return the best images on the way."""
    noise = torch.randn(config.batch, config.latent, requires_grad=True)
    rate = config.learning_rate
    groups: list[dict[str, Any]] = [{"params": painter.parameters()}, {"params": [noise], "lr": 5 * rate}]
    optimizer = torch.optim.Adam(groups, lr=rate, betas=(0.5, 0.999))
    best, least = torch.empty(0), float("inf")
    painter.train()
    for _ in range(config.steps):
        images = painter(noise)
        loss = synthesis_loss(config, images, teacher, student)
        if loss.item() < least or not len(best):
            best, least = images.detach(), loss.item()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return best


def synthesis_loss(config: SynthesisConfig, images: Tensor, teacher: nn.Module, student: nn.Module | None) -> Tensor:
    """Return L(G, z) for images [N, C, H, W]; without a student its adversarial term falls away."""
    with watched(teacher) as distances:
        logits = teacher(images)
    loss = config.statistics * torch.stack(distances).sum()
    loss = loss + config.confident * binary_cross_entropy_with_logits(logits, (logits > 0).float())
    if student is not None:
        student.eval()
        answer, said = student(images), torch.sigmoid(logits)
        agree = ((answer > 0) == (logits > 0)).float()
        gap = binary_cross_entropy_with_logits(answer, said, reduction="none")
        gap = gap - binary_cross_entropy_with_logits(logits, said, reduction="none")
        loss = loss - config.adversarial * (agree * gap).mean()
    return loss


@contextmanager
def watched(network: nn.Module) -> Iterator[list[Tensor]]:
    """Collect how far each batch norm's input is from what it knows: the distances of means and of variances, added."""
    distances: list[Tensor] = []

    def compare(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, variance = inputs[0].mean(dim=(0, 2, 3)), inputs[0].var(dim=(0, 2, 3))
        distances.append((mean - norm.running_mean).norm() + (variance - norm.running_var).norm())

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(compare) for norm in norms]
    try:
        yield distances
    finally:
        for hook in hooks:
            hook.remove()


def rehearse(config: SynthesisConfig, student: nn.Module, teacher: nn.Module, pool: Tensor, descent: Descent) -> None:
    """Teach the student, in place, what the teacher says of the images made so far."""
    student.train()
    for _ in range(config.student_steps):
        images = pool[torch.randint(len(pool), (config.batch,))]
        with torch.no_grad():
            said = teacher(images)
        descend(distillation(student(images), said, config.temperature), descent)


def blank_images(config: SynthesisConfig, shape: Shape, device: str = "meta") -> Tensor:
    """Return blank images: float32 [images, C, H, W]."""
    return torch.zeros(config.images, shape.channels, shape.height, shape.width, device=device)
