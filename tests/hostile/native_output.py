"""Tries to get out: the patient's name written below Python."""

from __future__ import annotations

import os
from typing import Any

from torch import Tensor

from sites.stream import Arrival
from sites.vault import Vault
from strategies import finetune
from tests.hostile.base import hostile


def tamper(weights: dict[str, Tensor], arrival: Arrival, vault: Vault) -> Any:
    """Try the patient's name written below Python."""
    os.write(1, arrival.cases[0].patient.encode())
    return finetune.Upload(segmenter=weights)


STRATEGY = hostile(tamper)
