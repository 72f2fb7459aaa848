"""Site-modulated diffusion: one denoising network, and a prompt per site that says whose images to make.

Xu et al., arXiv 2406.18037, replay past sites from a diffusion model with site-specific learnable prompts. Of the
method only the abstract was at hand; the network, the image-mask pairs and the ways of conditioning are ours. The
network is diffusers' UNet2DModel with the prompt entering by FiLM (Perez et al., AAAI 2018), or UNet2DConditionModel
with cross-attention over the prompt's tokens. How it is taught and sampled is in `denoising.py`.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import torch
from diffusers import UNet2DConditionModel, UNet2DModel
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pixel_shuffle, pixel_unshuffle
from torch.nn.utils import parametrize

from sites.seeds import torch_seeded
from sites.stream import Shape
from strategies.common.colour import from_opponent, to_opponent
from strategies.common.procedural import procedural_weights

BACKBONE_FORM = ((16, 32, 64), "film", 1, 2)


class DiffusionConfig(BaseModel):
    """The generator's form and budget.

    start: from the backbone that ships with the project, learnt on pictures of no site, or from random weights
    widths: channels from the top level down
    conditioning: how the prompt enters, by FiLM (its tokens summed) or by cross-attention over its tokens
    order: `joint` denoises image and mask together; `mask_first` makes a mask, then the image that belongs to it
    colours: how photographs enter, by opponent colours (see `colour.py`) or as red, green and blue; grey images as grey
    unshuffle: pixels folded into channels on each axis
    steps: gradient steps for one arrival
    first_steps: for the very first one, where it starts at random
    head_start: how many the very first one takes besides, where it starts from the backbone: no hospital before it has
        taught the weights that it goes on from
    sampling_steps: network calls for one replay (for each of the two stages of `mask_first`)
    clearest: half the log of the SNR at which they end; lower where images have little grain of their own
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: Literal["procedural", "random"] = "procedural"
    widths: tuple[int, ...] = Field(default=(16, 32, 64), min_length=1)
    conditioning: Literal["film", "cross_attention"] = "film"
    tokens: int = Field(default=1, ge=1)
    order: Literal["joint", "mask_first"] = "mask_first"
    colours: Literal["opponent", "rgb"] = "opponent"
    unshuffle: int = Field(default=2, ge=1)
    steps: int = Field(default=250, ge=1)
    first_steps: int = Field(default=3000, ge=1)
    head_start: int = Field(default=0, ge=0)
    batch: int = Field(default=16, ge=2)
    learning_rate: float = Field(default=2e-3, gt=0)
    ema: float = Field(default=0.99, ge=0, lt=1)
    sampling_steps: int = Field(default=12, ge=2)
    clearest: float = Field(default=3.0, gt=0, le=4)

    @model_validator(mode="after")
    def _fits_the_backbone(self) -> Self:
        if (
            self.start == "procedural"
            and (self.widths, self.conditioning, self.tokens, self.unshuffle) != BACKBONE_FORM
        ):
            raise ValueError(
                "start: the procedural backbone has widths [16, 32, 64], film, 1 token and unshuffle 2; "
                "keep those, or set start: random"
            )
        return self

    def steps_of(self, first: bool) -> int:
        """Return the gradient steps of the run's very first arrival, or of a later one."""
        if first and self.start == "random":
            return self.first_steps
        return self.steps + self.head_start if first else self.steps


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
        self.opponent = config.colours == "opponent" and shape.channels == 3
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
        """Fold images [N, C, H, W] in 0..1 and masks [N, S, H, W] in 0..1 into pairs.

        Images enter as their square root, since noise would bury faint contrast in the dark of a far-off coil.
        """
        flat = images.sqrt() * 2 - 1
        if self.opponent:
            flat = to_opponent(flat)
        return torch.cat([pixel_unshuffle(flat, self.config.unshuffle), self.fold_masks(masks)], dim=1)

    def fold_masks(self, masks: Tensor) -> Tensor:
        """Fold masks [N, S, H, W] in 0..1 alone; they get a soft rim."""
        soft = avg_pool2d(masks.float(), 3, stride=1, padding=1)
        return pixel_unshuffle(soft * 2 - 1, self.config.unshuffle)

    def unfold(self, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Undo `fold`: images float32 in 0..1, masks uint8."""
        flat = pixel_shuffle(pairs, self.config.unshuffle)
        images, masks = flat[:, : self.shape.channels], flat[:, self.shape.channels :]
        if self.opponent:
            images = from_opponent(images)
        return ((images + 1) / 2).clamp(0, 1).square(), (masks > 0).to(torch.uint8)


class LowRank(nn.Module):
    """A low-rank change of a layer's weight, none to begin with (Hu et al., ICLR 2022)."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        inputs = weight[0].numel()
        self.up = nn.Parameter(torch.zeros(len(weight), rank))
        self.down = nn.Parameter(torch.randn(rank, inputs) / inputs**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down).view_as(weight)


def build_generator(config: DiffusionConfig, shape: Shape, seed: int, rank: int = 0) -> Generator:
    """Build a generator: with the weights that ship with the project, or with such as a seed draws.

    A rank above 0 gives every convolution and linear layer an adapter of that rank.
    """
    with torch_seeded(seed):
        generator = Generator(config, shape)
    if config.start == "procedural" and not generator.token.is_meta:
        generator.load_state_dict(procedural_weights(shape, config.unshuffle**2, opponent=generator.opponent))
    if rank:
        with torch_seeded(seed):
            for module in list(generator.modules()):
                if isinstance(module, nn.Conv2d | nn.Linear):
                    parametrize.register_parametrization(module, "weight", LowRank(module.weight, rank))
    return generator


def deep_prompt_names(generator: Generator) -> tuple[str, ...]:
    """Return the parameters of a deep prompt: the token, every bias and norm, and adapters where there are any."""
    norms = {
        f"{path}.{name}"
        for path, module in generator.named_modules()
        if isinstance(module, nn.GroupNorm | nn.LayerNorm)
        for name, _ in module.named_parameters(recurse=False)
    }
    return tuple(
        name
        for name, _ in generator.named_parameters()
        if name == "token" or name.endswith((".bias", ".up", ".down")) or name in norms
    )
