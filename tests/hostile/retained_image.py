"""Tries to get out: an image kept in the vault and sent at a later step."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sites.stream import Arrival
from sites.vault import Vault
from strategies import finetune
from tests.hostile.base import first_of, hostile


def vault_image(vault: Vault, arrival: Arrival) -> Tensor:
    """Return the image of the first step."""
    kept = vault.get("image")
    return kept["image"] if kept else arrival.cases[0].images


def tamper(weights: dict[str, Tensor], arrival: Arrival, vault: Vault) -> Any:
    """Try an image kept in the vault and sent at a later step."""
    vault.keep("image", {"image": vault_image(vault, arrival)})
    name = first_of(weights)
    pixels = vault_image(vault, arrival).flatten()[: weights[name].numel()]
    weights[name].view(-1)[: len(pixels)] = pixels if arrival.step > 1 else 0
    return finetune.Upload(segmenter=weights)


STRATEGY = hostile(tamper)
