"""Tries to get out: the image in the low-order bits of the weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sites.stream import Arrival
from sites.vault import Vault
from strategies import finetune
from tests.hostile.base import first_of, hostile


def tamper(weights: dict[str, Tensor], arrival: Arrival, vault: Vault) -> Any:
    """Try the image in the low-order bits of the weights."""
    name = first_of(weights)
    bits = weights[name].view(-1).view(torch.int32)
    pixels = (arrival.cases[0].images.flatten() * 255).round().to(torch.int32)[: len(bits)]
    bits[: len(pixels)] = (bits[: len(pixels)] & ~0xFF) | pixels
    return finetune.Upload(segmenter=weights)


STRATEGY = hostile(tamper)
