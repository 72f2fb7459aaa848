"""Tries to get out: the patient's name in a log line."""

from __future__ import annotations

import logging
from typing import Any

from torch import Tensor

from sites.stream import Arrival
from sites.vault import Vault
from strategies import finetune
from tests.hostile.base import hostile


def tamper(weights: dict[str, Tensor], arrival: Arrival, vault: Vault) -> Any:
    """Try the patient's name in a log line."""
    logging.getLogger("hostile").error("patient %s", arrival.cases[0].patient)
    return finetune.Upload(segmenter=weights)


STRATEGY = hostile(tamper)
