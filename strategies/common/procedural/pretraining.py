"""Teaches the backbone that ships with the project: `python -m strategies.common.procedural.pretraining`.

Every world has a token of its own, so the network learns to be modulated by one. About 40 minutes on one core.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from safetensors.torch import save
from torch import Tensor, nn

from sites.files import write_whole
from sites.stream import Shape
from strategies.common.averaged import AveragedDescent
from strategies.common.denoising import Corruption
from strategies.common.diffusion import DiffusionConfig, Generator, build_generator
from strategies.common.procedural import BACKBONE, CHANNELS, STRUCTURES
from strategies.common.procedural.worlds import World, make_world
from strategies.common.retention import denoising_loss

SIZE, WORLDS, PICTURES, STEPS, BATCH, LEARNING_RATE, EMA = 48, 400, 48, 16_000, 16, 2e-3, 0.995


class _Atlas:
    """All worlds' pictures, to draw from."""

    def __init__(self, worlds: list[World]) -> None:
        self._images = torch.from_numpy(np.stack([world.images for world in worlds])).half()
        self._masks = torch.from_numpy(np.stack([world.masks for world in worlds]))
        self._grey = torch.tensor([world.grey for world in worlds])
        self._single = torch.tensor([world.single for world in worlds])

    def draw(self, generator: Generator, draws: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return the worlds [N] of a batch, its folded pairs, and noise that is equal where channels are copies."""
        worlds = torch.randint(len(self._grey), (BATCH,), generator=draws)
        rows = torch.randint(self._images.shape[1], (BATCH,), generator=draws)
        pairs = generator.fold(self._images[worlds, rows].float(), self._masks[worlds, rows])
        noise = torch.randn(pairs.shape, generator=draws)
        noise = noise.view(BATCH, CHANNELS + STRUCTURES, -1, *pairs.shape[2:])
        image, mask = noise[:, :CHANNELS], noise[:, CHANNELS:]
        image = torch.where(self._grey[worlds].view(-1, 1, 1, 1, 1), image[:, :1], image)
        mask = torch.where(self._single[worlds].view(-1, 1, 1, 1, 1), mask[:, :1], mask)
        return worlds, pairs, torch.cat([image, mask], dim=1).flatten(1, 2)


def pretrain(worlds: int = WORLDS, pictures: int = PICTURES, steps: int = STEPS) -> dict[str, Tensor]:
    """Return the weights, float16, of a generator that has seen many worlds; its token is the mean of theirs."""
    torch.set_num_threads(1)
    names = tuple(f"structure {row}" for row in range(STRUCTURES))
    shape = Shape(channels=CHANNELS, height=SIZE, width=SIZE, slices=1, structures=names)
    generator = build_generator(DiffusionConfig(start="random", colours="rgb", batch=BATCH), shape, 0)
    draws = torch.Generator().manual_seed(0)
    tokens = nn.Parameter(0.5 * torch.randn(worlds, *generator.token.shape, generator=draws))
    atlas = _Atlas([make_world(seed, pictures, SIZE) for seed in track(range(worlds), "imagining worlds")])
    parameters = [*(value for name, value in generator.named_parameters() if name != "token"), tokens]
    descent = AveragedDescent(parameters, learning_rate=LEARNING_RATE, steps=steps, ema=EMA, warm=0.05)
    corrupt = Corruption(generator, draws)
    for _ in track(range(steps), "teaching the backbone"):
        which, pairs, noise = atlas.draw(generator, draws)
        descent.descend(denoising_loss(generator, pairs, corrupt, tokens[which], noise))
    descent.finish()
    with torch.no_grad():
        generator.token.copy_(tokens.mean(0))
    return {name: value.detach().half() for name, value in generator.state_dict().items()}


def main(path: Path = BACKBONE) -> None:
    """Write the backbone anew."""
    write_whole(path, save(pretrain()))


if __name__ == "__main__":
    main()
