"""Tries to get out: a declared tensor made longer by the image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sites.stream import Arrival
from sites.vault import Vault
from strategies import finetune
from tests.hostile.base import first_of, hostile


def tamper(weights: dict[str, Tensor], arrival: Arrival, vault: Vault) -> Any:
    """Try a declared tensor made longer by the image."""
    name = first_of(weights)
    weights[name] = torch.cat([weights[name].flatten(), arrival.cases[0].images.flatten()])
    return finetune.Upload(segmenter=weights)


STRATEGY = hostile(tamper)
