"""Noise and back: how pairs are corrupted to teach a generator, and how it makes pairs out of noise.

v-prediction (Salimans & Ho, ICLR 2022) on a cosine schedule (Nichol & Dhariwal, ICML 2021), its noise levels weighed
by min-SNR (Hang et al., ICCV 2023); SDE-DPM-Solver++ (Lu et al., 2022) for sampling.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor
from torch.nn.functional import pixel_shuffle

from strategies.common.diffusion import Generator, beyond

TIMESTEPS = 1000
MOST_SNR = 5.0
LEAST_WEIGHT = 0.1
LEAST_LOG_SNR = -4.0
LAYOUT_WEIGHT = 0.5


def noise_scheduler() -> DDPMScheduler:
    """Return the cosine noise schedule, predicting velocity."""
    return DDPMScheduler(TIMESTEPS, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")


class Corruption:
    """Draws noise levels for pairs, and says what the network should answer.

    `joint`: one level for both halves. `mask_first`: some quarters of the batch show a noisy mask beside an image that
    is all noise, the others the clean mask and a noisy image; each counts only where it is noisy.
    """

    def __init__(self, generator: Generator, draws: torch.Generator) -> None:
        self._generator = generator
        self._config = generator.config
        self._draws = draws
        self._kept = noise_scheduler().alphas_cumprod
        self._by_snr = self._config.order == "mask_first" and self._config.mask_levels == "snr"

    def __call__(self, pairs: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return noisy pairs, image times, mask times, true velocities, and the weight of each entry.

        `noise` is drawn where none is given.
        """
        count, split = len(pairs), self._generator.image_channels
        noise = torch.randn(pairs.shape, generator=self._draws) if noise is None else noise
        image_time = torch.randint(TIMESTEPS, (count,), generator=self._draws)
        images = count - max(1, count * self._config.mask_quarters // 4)
        if self._by_snr:
            image_time[images:] = self._evenly_by_snr(count - images)
        mask_time = image_time.clone()
        kept = self._kept[image_time].view(-1, 1, 1, 1).expand_as(pairs).clone()
        # min(SNR, 5) / (SNR + 1), SNR being kept / (1 - kept); the floor keeps what is decided in the thick of noise.
        weight = torch.minimum(kept, MOST_SNR * (1 - kept)) + LEAST_WEIGHT
        if self._config.order == "mask_first":
            image_time[images:] = TIMESTEPS - 1
            mask_time[:images] = 0
            kept[:images, split:] = 1.0
            kept[images:, :split] = self._kept[-1]
            if self._by_snr:
                weight[images:] = LAYOUT_WEIGHT
            weight[:images, split:] = 0.0
            weight[images:, :split] = 0.0
        velocity = kept.sqrt() * noise - (1 - kept).sqrt() * pairs
        return kept.sqrt() * pairs + (1 - kept).sqrt() * noise, image_time, mask_time, velocity, weight / weight.mean()

    def _evenly_by_snr(self, count: int) -> Tensor:
        drawn = torch.rand(count, generator=self._draws)
        return times_at(self._kept, LEAST_LOG_SNR + (self._config.clearest - LEAST_LOG_SNR) * drawn)


@torch.no_grad()
def sample(generator: Generator, count: int, seed: int, batch: int = 64) -> tuple[Tensor, Tensor]:
    """Make `count` pairs: images float32 [N, C, H, W] in 0..1 and masks uint8 [N, S, H, W]."""
    generator.eval()
    draws = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, *generator.size, generator=draws)
    masker = beyond(generator)
    made = [_denoise(generator, masker, part, draws) for part in torch.split(noise, batch)]
    return generator.unfold(torch.cat(made))


@torch.no_grad()
def paint(generator: Generator, masks: Tensor, seed: int, batch: int = 64) -> Tensor:
    """Make an image, float32 [N, C, H, W] in 0..1, for each mask [N, S, H, W]: the second stage of `mask_first`."""
    generator.eval()
    draws = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(masks), *generator.size, generator=draws)[:, : generator.image_channels]
    parts = zip(torch.split(noise, batch), torch.split(generator.fold_masks(masks), batch), strict=True)
    return generator.unfold(torch.cat([_paint(generator, *part, draws) for part in parts]))[0]


def _denoise(generator: Generator, masker: Generator, noise: Tensor, draws: torch.Generator) -> Tensor:
    """Turn noise into folded pairs: in one stage, or the masks first and then the images that belong to them."""
    if generator.config.order == "joint":
        return _solve(generator, draws, noise, lambda state, time: generator(state, time, time))
    split = generator.image_channels
    image, mask = noise[:, :split], noise[:, split:]
    last = torch.full((len(noise),), TIMESTEPS - 1)
    mask = _solve(
        generator, draws, mask, lambda state, time: masker(torch.cat([image, state], 1), last, time)[:, split:]
    )
    clean = generator.fold_masks(pixel_shuffle(mask, generator.config.unshuffle) > 0)
    return _paint(generator, image, clean, draws)


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
    """Return the noise levels of so many steps: from pure noise, then evenly spaced in half the log of the SNR.

    clearest: where they end

    Where there are so many steps that two would share a level, there are fewer.
    """
    wanted = torch.linspace(LEAST_LOG_SNR, clearest, steps)[1:]
    return [TIMESTEPS - 1, *sorted(set(times_at(noise_scheduler().alphas_cumprod, wanted).tolist()), reverse=True)]


def times_at(kept: Tensor, levels: Tensor) -> Tensor:
    """Return the times, int64 [N], at which half the log of the SNR is nearest to `levels` [N]; `kept` is by time."""
    known = (kept / (1 - kept)).log() / 2
    return (known - levels[:, None]).abs().argmin(1)
