"""Tries to get out: a subclass of the upload with one more field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from torch import Tensor

from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Kind
from strategies import finetune
from tests.hostile.base import hostile


@dataclass(frozen=True, kw_only=True)
class More(finetune.Upload):
    """The upload, and what should not be in it."""

    image: Annotated[Tensor, Kind.SEGMENTER]


def tamper(weights: dict[str, Tensor], arrival: Arrival, vault: Vault) -> Any:
    """Try a subclass of the upload with one more field."""
    return More(segmenter=weights, image=arrival.cases[0].images)


STRATEGY = hostile(tamper)
