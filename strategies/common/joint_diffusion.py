"""How CGR teaches a generator: Bayesian Joint Diffusion, with a Task-Oriented Adapter of the site's embedding.

Li et al., arXiv 2406.19796, after its abstract and the authors' code:

- Beside the noise of both halves of a pair together, p(x, y), the network removes that of one half while it is shown
  the other one clean, p(x | y) and p(y | x) in turn. So image and mask belong together.
- The adapter is a small residual network, t + gamma MLP(t), with gamma 1e-4 to begin with.

Ours: the network is told the noise level of each half by itself, and answers with the velocity; errors are squared, not
absolute; in the conditional term only the half that is noisy counts; the adapter is trained along.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from sites.seeds import torch_seeded
from strategies.common.alignment import Domain
from strategies.common.averaged import AveragedDescent
from strategies.common.denoising import Corruption
from strategies.common.diffusion import Generator

Shown = Literal["image", "mask"]
SHOWN: tuple[Shown, Shown] = ("image", "mask")


@dataclass(frozen=True)
class Recalled:
    """Replays of an earlier site, with its embedding: float32 [tokens, width]."""

    replays: Domain
    token: Tensor


class Adapter(nn.Module):
    """A site's recalibration of an embedding, float32 [tokens, width]; next to none to begin with."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), 1e-4))
        self.fc = nn.Sequential(nn.Linear(width, width // 2), nn.GELU(), nn.Linear(width // 2, width))

    def forward(self, embedding: Tensor) -> Tensor:
        recalibrated: Tensor = embedding + self.gamma * self.fc(embedding)
        return recalibrated


def new_adapter(width: int, seed: int) -> Adapter:
    """Build an adapter, its random weights drawn from a seed."""
    with torch_seeded(seed):
        return Adapter(width)


def bayesian_joint_loss(
    generator: Generator, corrupt: Corruption, pairs: Tensor, tokens: Tensor, shown: Shown | None
) -> Tensor:
    """Return the error on noisy pairs, plus, where one half is `shown` clean, that on the other half given it.

    Pairs are folded, [N, channels, height, width]; tokens are [N, tokens, width].
    """
    noisy, image_time, mask_time, velocity, _ = corrupt(pairs)
    loss = mse_loss(generator(noisy, image_time, mask_time, tokens), velocity)
    split, clean = generator.image_channels, torch.zeros_like(image_time)
    if shown == "mask":
        given = torch.cat([noisy[:, :split], pairs[:, split:]], dim=1)
        loss = loss + mse_loss(generator(given, image_time, clean, tokens)[:, :split], velocity[:, :split])
    elif shown == "image":
        given = torch.cat([pairs[:, :split], noisy[:, split:]], dim=1)
        loss = loss + mse_loss(generator(given, clean, mask_time, tokens)[:, split:], velocity[:, split:])
    return loss


def teach(
    generator: Generator,
    own: Domain,
    past: Sequence[Recalled],
    *,
    steps: int,
    seed: int,
    conditional: bool = True,
) -> None:
    """Teach a generator, in place, a site's pairs and its embedding, and earlier sites' replays under theirs.

    Half of a batch is the site's own, or all of it where there is no earlier one. What is trained ends as its
    exponential moving average. Without `conditional` the joint term is alone.
    """
    config, draws = generator.config, torch.Generator().manual_seed(seed)
    corrupt, adapter = Corruption(generator, draws), new_adapter(generator.token.shape[-1], seed)
    embedding = generator.token.requires_grad_(False).clone()
    pairs = generator.fold(own.images, own.masks)
    old = torch.cat([pairs[:0], *(generator.fold(one.replays.images, one.replays.masks) for one in past)])
    old_tokens = torch.cat([embedding[None][:0], *(one.token.expand(len(one.replays.images), -1, -1) for one in past)])
    parameters = [one for one in (*generator.parameters(), *adapter.parameters()) if one.requires_grad]
    descent = AveragedDescent(parameters, learning_rate=config.learning_rate, steps=steps, ema=config.ema)
    rehearsed = config.batch // 2 if past else 0
    generator.train()
    for step in range(steps):
        new = torch.randint(len(pairs), (config.batch - rehearsed,), generator=draws)
        rows = torch.randint(max(1, len(old)), (rehearsed,), generator=draws)
        tokens = torch.cat([adapter(embedding).expand(len(new), -1, -1), old_tokens[rows]])
        shown = SHOWN[step % 2] if conditional else None
        descent.descend(bayesian_joint_loss(generator, corrupt, torch.cat([pairs[new], old[rows]]), tokens, shown))
    descent.finish()
    with torch.no_grad():
        generator.token.copy_(adapter(embedding))
