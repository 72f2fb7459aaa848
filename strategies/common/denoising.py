"""Noise and back: how pairs are corrupted to teach a generator, and how it makes pairs out of noise.

v-prediction (Salimans & Ho, ICLR 2022) on a cosine schedule (Nichol & Dhariwal, ICML 2021), its noise levels weighed
by min-SNR (Hang et al., ICCV 2023); SDE-DPM-Solver++ (Lu et al., 2022) for sampling. A noise level is given as half the
log of the SNR.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor
from torch.nn.functional import pixel_shuffle

from strategies.common.diffusion import Generator

TIMESTEPS = 1000
MOST_SNR = 5.0
LEAST_WEIGHT = 0.1
LEAST_LOG_SNR = -4.0


def noise_scheduler() -> DDPMScheduler:
    """Return the cosine noise schedule, predicting velocity."""
    return DDPMScheduler(TIMESTEPS, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")


class Corruption:
    """Draws noise levels for pairs, and says what the network should answer.

    `joint`: one level for both halves. `mask_first`: three quarters of the batch show the clean mask and a noisy
    image, the rest a noisy mask (it is the easier to learn) beside an image that is all noise; each counts only where
    it is noisy.
    """

    def __init__(self, generator: Generator, draws: torch.Generator) -> None:
        self._generator = generator
        self._draws = draws
        self._kept = noise_scheduler().alphas_cumprod

    def __call__(self, pairs: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return noisy pairs, image times, mask times, true velocities, and the weight of each entry.

        `noise` is drawn where none is given.
        """
        count, split = len(pairs), self._generator.image_channels
        noise = torch.randn(pairs.shape, generator=self._draws) if noise is None else noise
        image_time = torch.randint(TIMESTEPS, (count,), generator=self._draws)
        mask_time = image_time.clone()
        kept = self._kept[image_time].view(-1, 1, 1, 1).expand_as(pairs).clone()
        # min(SNR, 5) / (SNR + 1), SNR being kept / (1 - kept); the floor keeps what is decided in the thick of noise.
        weight = torch.minimum(kept, MOST_SNR * (1 - kept)) + LEAST_WEIGHT
        if self._generator.config.order == "mask_first":
            images = count - max(1, count // 4)
            image_time[images:] = TIMESTEPS - 1
            mask_time[:images] = 0
            kept[:images, split:] = 1.0
            kept[images:, :split] = self._kept[-1]
            weight[:images, split:] = 0.0
            weight[images:, :split] = 0.0
        velocity = kept.sqrt() * noise - (1 - kept).sqrt() * pairs
        return kept.sqrt() * pairs + (1 - kept).sqrt() * noise, image_time, mask_time, velocity, weight / weight.mean()


@torch.no_grad()
def sample(generator: Generator, count: int, seed: int, batch: int = 64) -> tuple[Tensor, Tensor]:
    """Make `count` pairs: images float32 [N, C, H, W] in 0..1 and masks uint8 [N, S, H, W]."""
    generator.eval()
    draws = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, *generator.size, generator=draws)
    made = [_denoise(generator, part, draws) for part in torch.split(noise, batch)]
    return generator.unfold(torch.cat(made))


@torch.no_grad()
def sample_masks(generator: Generator, count: int, seed: int, batch: int = 64) -> Tensor:
    """Make `count` masks alone, uint8 [N, S, H, W]: the first stage of `mask_first`."""
    generator.eval()
    draws = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, *generator.size, generator=draws)
    return torch.cat([_masks(generator, part, draws) for part in torch.split(noise, batch)]).to(torch.uint8)


@torch.no_grad()
def paint(generator: Generator, masks: Tensor, seed: int, batch: int = 64) -> tuple[Tensor, Tensor]:
    """Make an image, float32 [N, C, H, W] in 0..1, for each mask [N, S, H, W]: the second stage of `mask_first`.

    Also returns the masks as pairs hold them, uint8: a pixel is as most of those around it are.
    """
    generator.eval()
    draws = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(masks), *generator.size, generator=draws)[:, : generator.image_channels]
    parts = zip(torch.split(noise, batch), torch.split(generator.fold_masks(masks), batch), strict=True)
    return generator.unfold(torch.cat([_paint(generator, *part, draws) for part in parts]))


def _denoise(generator: Generator, noise: Tensor, draws: torch.Generator) -> Tensor:
    """Turn noise into folded pairs: in one stage, or the masks first and then the images that belong to them."""
    if generator.config.order == "joint":
        return _solve(generator, draws, noise, lambda state, time: generator(state, time, time))
    clean = generator.fold_masks(_masks(generator, noise, draws))
    return _paint(generator, noise[:, : generator.image_channels], clean, draws)


def _masks(generator: Generator, noise: Tensor, draws: torch.Generator) -> Tensor:
    """Turn the noise of folded pairs into masks, bool [N, S, H, W], beside images that stay noise."""
    split = generator.image_channels
    image, mask = noise[:, :split], noise[:, split:]
    last = torch.full((len(noise),), TIMESTEPS - 1)
    mask = _solve(
        generator, draws, mask, lambda state, time: generator(torch.cat([image, state], 1), last, time)[:, split:]
    )
    return pixel_shuffle(mask, generator.config.unshuffle) > 0


def _paint(generator: Generator, noise: Tensor, clean: Tensor, draws: torch.Generator) -> Tensor:
    """Turn noise into the images of clean masks, both folded; return the pairs."""
    split, first = generator.image_channels, torch.zeros(len(noise), dtype=torch.long)
    image = _solve(
        generator, draws, noise, lambda state, time: generator(torch.cat([state, clean], 1), time, first)[:, :split]
    )
    return torch.cat([image, clean], dim=1)


def _solve(
    generator: Generator, draws: torch.Generator, state: Tensor, velocity: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Take a state from noise to a picture with a few steps, from noise level to noise level, of a stochastic solver.

    Fresh noise in each step makes good in part what the steps before got wrong. No step is spent where nothing is
    decided yet, nor where the network, which is hardly taught there, would leave grain of its own.
    """
    solver = DPMSolverMultistepScheduler(
        TIMESTEPS,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        algorithm_type="sde-dpmsolver++",
    )
    solver.set_timesteps(timesteps=sampling_times(generator.config.sampling_steps, generator.config.clearest))
    for time in solver.timesteps:
        here = torch.full((len(state),), int(time))
        state = solver.step(velocity(state, here), time, state, generator=draws).prev_sample
    return state


def sampling_times(steps: int, clearest: float) -> list[int]:
    """Return the times of so many steps: from pure noise, then evenly spaced in noise level, to where they end.

    Where there are so many steps that two would share a time, there are fewer.
    """
    wanted = torch.linspace(LEAST_LOG_SNR, clearest, steps)
    return [TIMESTEPS - 1, *sorted({int((_levels() - one).abs().argmin()) for one in wanted[1:]}, reverse=True)]


@cache
def _levels() -> Tensor:
    """Return the noise level of every time: float32 [TIMESTEPS]."""
    kept = noise_scheduler().alphas_cumprod
    levels: Tensor = (kept / (1 - kept)).log() / 2
    return levels
