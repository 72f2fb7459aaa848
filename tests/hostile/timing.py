"""Tries to get out: a bit of the image in the time that the answer takes."""

from __future__ import annotations

import time
from typing import Any

from torch import Tensor

from sites.stream import Arrival
from sites.vault import Vault
from strategies import finetune
from tests.hostile.base import hostile


def tamper(weights: dict[str, Tensor], arrival: Arrival, vault: Vault) -> Any:
    """Try a bit of the image in the time that the answer takes."""
    time.sleep(0.4 if arrival.step == 1 else 0.0)
    return finetune.Upload(segmenter=weights)


STRATEGY = hostile(tamper)
