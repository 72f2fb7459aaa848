"""Tries to get out: the brightness of the image in the code of a refusal."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sites.gate import Code, Refused
from sites.stream import Arrival
from sites.vault import Vault
from tests.hostile.base import hostile

CODES = tuple(code for code in Code if code is not Code.OK)


def code_for(images: Tensor) -> Code:
    """Return the code that says how bright images in 0..1 are."""
    return CODES[int(images.mean() * 100) % len(CODES)]


def tamper(weights: dict[str, Tensor], arrival: Arrival, vault: Vault) -> Any:
    """Try the brightness of the image in a refusal's code."""
    raise Refused(code_for(arrival.cases[0].images))


STRATEGY = hostile(tamper)
