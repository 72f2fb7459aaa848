"""Keeps generated masks from holding too little, or too much, of a structure.

How much of a picture is a structure is decided in the thick of noise, step after step, each from a state that the
step before left (exposure bias: Ning et al., ICML 2023, arXiv 2301.11706). So a small error of the network there grows:
where a site has few slices, its replays may end with half of their white matter. What the network adds to the predicted
velocity of a mask, its output's bias, counts by sqrt(1 - kept): in the thick of noise, and hardly near a finished mask.
"""

from __future__ import annotations

import torch
from torch import Tensor

from strategies.common.denoising import sample_masks
from strategies.common.diffusion import Generator

ROUNDS = 4
GAIN = 2.0


@torch.no_grad()
def calibrate(generator: Generator, masks: Tensor, count: int, seed: int) -> None:
    """Shift the output's bias of each structure, in place, till generated masks hold as much of it as given ones.

    `masks` are a site's own, [N, S, H, W] in 0..1. In each round `count` masks are made, of the same noise every time.
    For a generator of `order: mask_first`, in whose images these biases have no part.
    """
    bias = generator.unet.conv_out.bias[generator.image_channels :].view(len(generator.shape.structures), -1)
    wanted = shares(masks)
    for _ in range(ROUNDS):
        bias += GAIN * (shares(sample_masks(generator, count, seed)) - wanted)[:, None]


def shares(masks: Tensor) -> Tensor:
    """Return how much of masks [N, S, H, W] in 0..1 each structure is: [S]."""
    return masks.float().mean((0, 2, 3))
