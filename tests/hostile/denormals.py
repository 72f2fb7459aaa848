"""Tries to get out: the image in denormal numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sites.stream import Arrival
from sites.vault import Vault
from strategies import finetune
from tests.hostile.base import first_of, hostile


def tamper(weights: dict[str, Tensor], arrival: Arrival, vault: Vault) -> Any:
    """Try the image in denormal numbers."""
    name = first_of(weights)
    pixels = (arrival.cases[0].images.flatten() * 255).round().to(torch.int32)[: weights[name].numel()]
    weights[name].view(-1).view(torch.int32)[: len(pixels)] = pixels
    return finetune.Upload(segmenter=weights)


STRATEGY = hostile(tamper)
