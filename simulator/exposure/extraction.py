"""Extraction: images that a generator gives away, found as an attacker would, by making many and looking for repeats.

After Carlini et al., "Extracting training data from diffusion models", USENIX Security 2023.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEIGHBOURS = 50
CLOSENESS = 0.5
FILTERED = 0.25


def repeated(made: Tensor) -> Tensor:
    """Return the generated images [N, C, H, W] that an attacker without data keeps: the quarter with nearest twins."""
    distances = torch.cdist(made.flatten(1), made.flatten(1)).fill_diagonal_(torch.inf)
    kept = max(1, round(FILTERED * len(made)))
    return made[distances.amin(1).argsort()[:kept]]


def extracted(images: Tensor, made: Tensor) -> Tensor:
    """Return which images [N, C, H, W] are given away by generated ones: bool [N].

    A generated image gives its nearest image away where it lies less than half as far from it as from its 50
    nearest on average (or from all, where there are fewer).
    """
    distances = torch.cdist(made.flatten(1), images.flatten(1))
    near, which = distances.topk(min(NEIGHBOURS, len(images)), largest=False)
    hits = which[:, 0][near[:, 0] < CLOSENESS * near.mean(1)]
    found = torch.zeros(len(images), dtype=torch.bool)
    found[hits] = True
    return found
