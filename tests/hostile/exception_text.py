"""Tries to get out: the patient's name in the text of an exception."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sites.stream import Arrival
from sites.vault import Vault
from tests.hostile.base import hostile


def tamper(weights: dict[str, Tensor], arrival: Arrival, vault: Vault) -> Any:
    """Try the patient's name in the text of an exception."""
    raise RuntimeError(arrival.cases[0].patient)


STRATEGY = hostile(tamper)
