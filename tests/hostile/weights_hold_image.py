"""Tries to get out: weights that simply hold the image."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sites.stream import Arrival
from sites.vault import Vault
from strategies import finetune
from tests.hostile.base import first_of, hostile


def tamper(weights: dict[str, Tensor], arrival: Arrival, vault: Vault) -> Any:
    """Try weights that simply hold the image."""
    name = first_of(weights)
    pixels = arrival.cases[0].images.flatten()[: weights[name].numel()]
    weights[name].view(-1)[: len(pixels)] = pixels
    return finetune.Upload(segmenter=weights)


STRATEGY = hostile(tamper)
