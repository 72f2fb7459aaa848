"""Tries to get out: a declared tensor in double precision."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sites.stream import Arrival
from sites.vault import Vault
from strategies import finetune
from tests.hostile.base import first_of, hostile


def tamper(weights: dict[str, Tensor], arrival: Arrival, vault: Vault) -> Any:
    """Try a declared tensor in double precision."""
    name = first_of(weights)
    weights[name] = weights[name].double()
    return finetune.Upload(segmenter=weights)


STRATEGY = hostile(tamper)
