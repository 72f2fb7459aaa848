"""Tries to get out: the image, thresholded, in the signs of zeros."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sites.stream import Arrival
from sites.vault import Vault
from strategies import finetune
from tests.hostile.base import first_of, hostile


def tamper(weights: dict[str, Tensor], arrival: Arrival, vault: Vault) -> Any:
    """Try the image, thresholded, in the signs of zeros."""
    name = first_of(weights)
    bright = (arrival.cases[0].images.flatten() > 0.5)[: weights[name].numel()]
    weights[name].view(-1)[: len(bright)] = torch.where(bright, -0.0, 0.0)
    return finetune.Upload(segmenter=weights)


STRATEGY = hostile(tamper)
