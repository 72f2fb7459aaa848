"""Tries to get out: a tensor called by the patient's name, as a metric would be."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sites.stream import Arrival
from sites.vault import Vault
from strategies import finetune
from tests.hostile.base import hostile


def tamper(weights: dict[str, Tensor], arrival: Arrival, vault: Vault) -> Any:
    """Try a tensor called by the patient's name, as a metric would be."""
    weights[arrival.cases[0].patient] = arrival.cases[0].images
    return finetune.Upload(segmenter=weights)


STRATEGY = hostile(tamper)
