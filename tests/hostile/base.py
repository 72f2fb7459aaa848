"""What the hostile strategies share: fine-tuning whose upload is tampered with at the site."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor

from sites.stream import Arrival
from sites.vault import Vault
from strategies import Strategy, finetune
from strategies.setting import Setting

Tamper = Callable[[dict[str, Tensor], Arrival, Vault], Any]


def hostile(tamper: Tamper) -> Strategy[Any, Any, Any]:
    """Return fine-tuning that uploads what `tamper` makes of its weights, the arrival and the vault."""

    def learn(
        config: finetune.Config, setting: Setting, down: finetune.Broadcast, arrival: Arrival, vault: Vault
    ) -> Any:
        return tamper({name: tensor.clone() for name, tensor in down.segmenter.items()}, arrival, vault)

    return replace(finetune.STRATEGY, learn=learn)


def first_of(weights: dict[str, Tensor]) -> str:
    """Return the name of the largest tensor: the one with most room."""
    return max(weights, key=lambda name: weights[name].numel())
