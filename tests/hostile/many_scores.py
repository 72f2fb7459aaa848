"""Tries to get out: scores in the upload's place, with a row for each pixel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sites.scoring import Scores
from sites.stream import Arrival
from sites.vault import Vault
from tests.hostile.base import hostile


def tamper(weights: dict[str, Tensor], arrival: Arrival, vault: Vault) -> Any:
    """Try scores in the upload's place, with a row for each pixel."""
    pixels = arrival.cases[0].images.flatten()
    return Scores(values=pixels.expand(1, 3, -1).transpose(0, 2), held=torch.ones(1, dtype=torch.int64))


STRATEGY = hostile(tamper)
