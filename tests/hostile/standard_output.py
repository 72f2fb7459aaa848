"""Tries to get out: the patient's name printed."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sites.stream import Arrival
from sites.vault import Vault
from strategies import finetune
from tests.hostile.base import hostile


def tamper(weights: dict[str, Tensor], arrival: Arrival, vault: Vault) -> Any:
    """Try the patient's name printed."""
    print("patient", arrival.cases[0].patient)
    return finetune.Upload(segmenter=weights)


STRATEGY = hostile(tamper)
