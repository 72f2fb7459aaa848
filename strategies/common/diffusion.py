"""Site-modulated diffusion: one denoising network, and a prompt per site that says whose images to make.

Xu et al., arXiv 2406.18037, replay past sites from a diffusion model with site-specific learnable prompts. Of the
method only the abstract was at hand; the network, the image-mask pairs and the ways of conditioning are ours. The
network is diffusers' UNet2DModel with the prompt entering by FiLM (Perez et al., AAAI 2018), or UNet2DConditionModel
with cross-attention over the prompt's tokens; v-prediction (Salimans & Ho, ICLR 2022) on a cosine schedule (Nichol &
Dhariwal, ICML 2021); DPM-Solver++ (Lu et al., 2022) for sampling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, UNet2DConditionModel, UNet2DModel
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pixel_shuffle, pixel_unshuffle

from sites.stream import Shape

TIMESTEPS = 1000


class DiffusionConfig(BaseModel):
    """The generator's form and budget.

    widths: channels from the top level down
    conditioning: how the prompt enters, by FiLM (its tokens summed) or by cross-attention over its tokens
    order: `joint` denoises image and mask together; `mask_first` makes a mask, then the image that belongs to it
    unshuffle: pixels folded into channels on each axis
    steps: gradient steps for one arrival; first_steps: for the very first one, which teaches the backbone
    sampling_steps: network calls for one replay (for each of the two stages of `mask_first`)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: tuple[int, ...] = Field(default=(32, 64, 128), min_length=1)
    conditioning: Literal["film", "cross_attention"] = "film"
    tokens: int = Field(default=1, ge=1)
    order: Literal["joint", "mask_first"] = "mask_first"
    unshuffle: int = Field(default=2, ge=1)
    steps: int = Field(default=500, ge=1)
    first_steps: int = Field(default=1500, ge=1)
    batch: int = Field(default=16, ge=2)
    learning_rate: float = Field(default=2e-3, gt=0)
    ema: float = Field(default=0.99, ge=0, lt=1)
    sampling_steps: int = Field(default=12, ge=2)


class Generator(nn.Module):
    """The denoising network with the prompt's token of the site that it now stands for.

    A picture is a pair z = [image; mask] in -1..1, folded: float32 [N, (C + S) u u, H / u, W / u]. The two halves
    have noise levels of their own, so that one network makes them together, or one after the other.
    """

    def __init__(self, config: DiffusionConfig, shape: Shape) -> None:
        super().__init__()
        self.config = config
        self.shape = shape
        fold = config.unshuffle**2
        self.image_channels = shape.channels * fold
        channels = self.image_channels + len(shape.structures) * fold
        self.size = (channels, shape.height // config.unshuffle, shape.width // config.unshuffle)
        width = 4 * config.widths[0]
        self.token = nn.Parameter(0.5 * torch.randn(config.tokens, width))
        self.mask_time = nn.Sequential(nn.Linear(config.widths[0], width), nn.SiLU(), nn.Linear(width, width))
        levels = len(config.widths)
        common = {
            "in_channels": channels,
            "out_channels": channels,
            "layers_per_block": 1,
            "block_out_channels": config.widths,
            "norm_num_groups": 8,
            "resnet_time_scale_shift": "scale_shift",
            "class_embed_type": "identity",
        }
        self.unet: Any
        if config.conditioning == "film":
            self.unet = UNet2DModel(
                down_block_types=("DownBlock2D",) * levels,
                up_block_types=("UpBlock2D",) * levels,
                add_attention=False,
                **common,
            )
        else:
            self.unet = UNet2DConditionModel(
                down_block_types=("DownBlock2D",) * (levels - 1) + ("CrossAttnDownBlock2D",),
                up_block_types=("CrossAttnUpBlock2D",) + ("UpBlock2D",) * (levels - 1),
                mid_block_type="UNetMidBlock2DCrossAttn",
                cross_attention_dim=width,
                attention_head_dim=8,
                **common,
            )

    def forward(self, noisy: Tensor, image_time: Tensor, mask_time: Tensor, tokens: Tensor | None = None) -> Tensor:
        """Return the predicted velocity of folded pairs.

        Both times are int64 [N] in 0..999; tokens are float32 [N, tokens, width], the generator's own where none
        are given.
        """
        if tokens is None:
            tokens = self.token.expand(len(noisy), -1, -1)
        level = self.mask_time(self.unet.time_proj(mask_time).to(noisy.dtype))
        if self.config.conditioning == "film":
            velocity: Tensor = self.unet(noisy, image_time, class_labels=level + tokens.sum(1)).sample
        else:
            velocity = self.unet(noisy, image_time, encoder_hidden_states=tokens, class_labels=level).sample
        return velocity

    def fold(self, images: Tensor, masks: Tensor) -> Tensor:
        """Fold images [N, C, H, W] in 0..1 and masks [N, S, H, W] in 0..1 into pairs; masks get a soft rim."""
        soft = avg_pool2d(masks.float(), 3, stride=1, padding=1)
        return pixel_unshuffle(torch.cat([images, soft], dim=1) * 2 - 1, self.config.unshuffle)

    def unfold(self, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Undo `fold`: images float32 in 0..1, masks uint8."""
        flat = pixel_shuffle(pairs, self.config.unshuffle)
        images, masks = flat[:, : self.shape.channels], flat[:, self.shape.channels :]
        return ((images + 1) / 2).clamp(0, 1), (masks > 0).to(torch.uint8)


def build_generator(config: DiffusionConfig, shape: Shape, seed: int) -> Generator:
    """Build a generator, its initial weights drawn from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Generator(config, shape)


def deep_prompt_names(generator: Generator) -> tuple[str, ...]:
    """Return the parameters of a deep prompt: the token, every bias and norm, the first and the last convolution."""
    norms = {
        f"{path}.{name}"
        for path, module in generator.named_modules()
        if isinstance(module, nn.GroupNorm | nn.LayerNorm)
        for name, _ in module.named_parameters(recurse=False)
    }
    ends = ("unet.conv_in.", "unet.conv_out.")
    return tuple(
        name
        for name, _ in generator.named_parameters()
        if name == "token" or name.endswith(".bias") or name in norms or name.startswith(ends)
    )


def noise_scheduler() -> DDPMScheduler:
    """Return the cosine noise schedule, predicting velocity."""
    return DDPMScheduler(TIMESTEPS, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")


class Corruption:
    """Draws noise levels for pairs, and says what the network should answer.

    `joint`: one level for both halves. `mask_first`: half of the batch shows the clean mask and a noisy image, the
    other half a noisy mask beside an image that is all noise; each counts only where it is noisy.
    """

    def __init__(self, generator: Generator, draws: torch.Generator) -> None:
        self._generator = generator
        self._draws = draws
        self._kept = noise_scheduler().alphas_cumprod

    def __call__(self, pairs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return noisy pairs, image times, mask times, true velocities, and the weight of each entry."""
        count, split = len(pairs), self._generator.image_channels
        noise = torch.randn(pairs.shape, generator=self._draws)
        image_time = torch.randint(TIMESTEPS, (count,), generator=self._draws)
        mask_time = image_time.clone()
        kept = self._kept[image_time].view(-1, 1, 1, 1).expand_as(pairs).clone()
        weight = torch.ones_like(pairs)
        if self._generator.config.order == "mask_first":
            half = count // 2
            image_time[half:] = TIMESTEPS - 1
            mask_time[:half] = 0
            kept[:half, split:] = 1.0
            kept[half:, :split] = self._kept[-1]
            weight[:half, split:] = 0.0
            weight[half:, :split] = 0.0
        velocity = kept.sqrt() * noise - (1 - kept).sqrt() * pairs
        return kept.sqrt() * pairs + (1 - kept).sqrt() * noise, image_time, mask_time, velocity, weight / weight.mean()


@torch.no_grad()
def sample(generator: Generator, count: int, seed: int, batch: int = 64) -> tuple[Tensor, Tensor]:
    """Make `count` pairs: images float32 [N, C, H, W] in 0..1 and masks uint8 [N, S, H, W]."""
    generator.eval()
    draws = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, *generator.size, generator=draws)
    made = [_denoise(generator, part) for part in torch.split(noise, batch)]
    return generator.unfold(torch.cat(made))


def _denoise(generator: Generator, noise: Tensor) -> Tensor:
    """Turn noise into folded pairs: in one stage, or the masks first and then the images that belong to them."""
    if generator.config.order == "joint":
        return _solve(generator, noise, lambda state, time: generator(state, time, time))
    split, fold = generator.image_channels, generator.config.unshuffle
    image, mask = noise[:, :split], noise[:, split:]
    first = torch.zeros(len(noise), dtype=torch.long)
    last = torch.full_like(first, TIMESTEPS - 1)
    mask = _solve(generator, mask, lambda state, time: generator(torch.cat([image, state], 1), last, time)[:, split:])
    hard = (pixel_shuffle(mask, fold) > 0).float()
    clean = pixel_unshuffle(avg_pool2d(hard, 3, stride=1, padding=1) * 2 - 1, fold)
    image = _solve(
        generator, image, lambda state, time: generator(torch.cat([state, clean], 1), time, first)[:, :split]
    )
    return torch.cat([image, clean], dim=1)


def _solve(generator: Generator, state: Tensor, velocity: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Take a state from noise to a picture with a few steps of DPM-Solver++ (times spaced as Lu et al. do)."""
    solver = DPMSolverMultistepScheduler(
        TIMESTEPS,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        algorithm_type="dpmsolver++",
        use_lu_lambdas=True,
    )
    solver.set_timesteps(generator.config.sampling_steps)
    for time in solver.timesteps:
        times = torch.full((len(state),), int(time))
        state = solver.step(velocity(state, times), time, state).prev_sample
    return state
