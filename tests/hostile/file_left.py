"""Tries to get out: the image in a file in the working folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from sites.stream import Arrival
from sites.vault import Vault
from strategies import finetune
from tests.hostile.base import hostile


def tamper(weights: dict[str, Tensor], arrival: Arrival, vault: Vault) -> Any:
    """Try the image in a file in the working folder."""
    Path("left.bin").write_bytes(arrival.cases[0].images.numpy().tobytes())
    return finetune.Upload(segmenter=weights)


STRATEGY = hostile(tamper)
