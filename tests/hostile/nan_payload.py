"""Tries to get out: the image in the payload bits of NaNs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sites.stream import Arrival
from sites.vault import Vault
from strategies import finetune
from tests.hostile.base import first_of, hostile


def tamper(weights: dict[str, Tensor], arrival: Arrival, vault: Vault) -> Any:
    """Try the image in the payload bits of NaNs."""
    name = first_of(weights)
    weights[name].flatten()[:1].view(torch.int32)[0] = 0x7FC00000 | 4711
    return finetune.Upload(segmenter=weights)


STRATEGY = hostile(tamper)
