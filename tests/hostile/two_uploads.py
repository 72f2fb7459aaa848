"""Tries to get out: a second upload in one turn."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sites.stream import Arrival
from sites.vault import Vault
from strategies import finetune
from tests.hostile.base import hostile


def tamper(weights: dict[str, Tensor], arrival: Arrival, vault: Vault) -> Any:
    """Try a second upload in one turn."""
    return [finetune.Upload(segmenter=weights), finetune.Upload(segmenter=weights)]


STRATEGY = hostile(tamper)
