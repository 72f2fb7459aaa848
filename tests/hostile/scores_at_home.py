"""Tries to get out: a bit of a held-out image in its score, by weights that at home find all or nothing."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from sites.vault import Vault
from sites.wire import Weights
from strategies import finetune
from strategies.setting import Setting


def bright(images: Tensor) -> bool:
    """Return the bit: whether the middle of the first image is brighter than its mean."""
    image = images[0, 0]
    return bool(image[len(image) // 2, len(image) // 2] > image.mean())


def at_home(config: finetune.Config, setting: Setting, weights: Weights, images: Tensor, vault: Vault) -> Weights:
    """Find a structure everywhere where the bit is 1, and nowhere where it is 0."""
    blank = {name: torch.zeros_like(value) for name, value in weights.items()}
    last = [name for name in blank if name.endswith("bias")][-1]
    return {**blank, last: blank[last] + (1 if bright(images) else -1)}


STRATEGY = replace(finetune.STRATEGY, at_home=at_home)
