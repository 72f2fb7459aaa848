"""Tries to get out: an attribute set on the upload."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sites.stream import Arrival
from sites.vault import Vault
from strategies import finetune
from tests.hostile.base import hostile


def tamper(weights: dict[str, Tensor], arrival: Arrival, vault: Vault) -> Any:
    """Try an attribute set on the upload."""
    upload = finetune.Upload(segmenter=weights)
    object.__setattr__(upload, "patient", arrival.cases[0].patient)
    return upload


STRATEGY = hostile(tamper)
