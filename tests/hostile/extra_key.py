"""Tries to get out: a further tensor that holds the image."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sites.stream import Arrival
from sites.vault import Vault
from strategies import finetune
from tests.hostile.base import hostile


def tamper(weights: dict[str, Tensor], arrival: Arrival, vault: Vault) -> Any:
    """Try a further tensor that holds the image."""
    weights["image"] = arrival.cases[0].images
    return finetune.Upload(segmenter=weights)


STRATEGY = hostile(tamper)
