"""Site-modulated diffusion: one denoising network, and a prompt per site that says whose images to make.

Xu et al., arXiv 2406.18037, replay past sites from a diffusion model with site-specific learnable prompts. Of the
method only the abstract was at hand; the network, the joint image-mask pairs and the ways of conditioning are ours.
The network is diffusers' UNet2DModel, the prompt entering by FiLM (as the class embedding, Perez et al., AAAI 2018)
or by cross-attention over its tokens; v-prediction (Salimans & Ho, ICLR 2022) on a cosine schedule (Nichol & Dhariwal,
ICML 2021); DPM-Solver++ (Lu et al., 2022) for sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, UNet2DConditionModel, UNet2DModel
from diffusers.training_utils import EMAModel
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pixel_shuffle, pixel_unshuffle

from sites.stream import Shape

TRAIN_TIMESTEPS = 1000


class DiffusionConfig(BaseModel):
    """The generator's form and budget.

    widths: channels from the top level down; conditioning: how the prompt enters; tokens: how many a prompt has
    order: `joint` denoises image and mask together; `mask_first` makes the mask, then the image that it belongs to
    steps: gradient steps a site; sampling_steps: network calls a replay (each of the two stages of `mask_first`)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: tuple[int, ...] = (24, 48, 96)
    conditioning: Literal["film", "cross_attention"] = "film"
    tokens: int = Field(default=1, ge=1)
    order: Literal["joint", "mask_first"] = "joint"
    unshuffle: int = Field(default=2, ge=1)
    steps: int = Field(default=300, ge=1)
    batch: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=4e-3, gt=0)
    ema: float = Field(default=0.99, ge=0, lt=1)
    sampling_steps: int = Field(default=10, ge=2)
    prompt_scale: float = Field(default=0.5, gt=0)
