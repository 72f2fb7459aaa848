"""What hostile strategies with a field of their own share: a server that keeps what it took in its state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from sites.wire import Kind, Weights
from strategies import State, finetune
from strategies.common.relay import RelayServer


@dataclass(frozen=True, kw_only=True)
class CountUpload(finetune.Upload):
    """Segmenter weights, and a number of cases (int64 [1])."""

    taken: Annotated[Tensor, Kind.COUNT]


@dataclass(frozen=True, kw_only=True)
class StatisticUpload(finetune.Upload):
    """Segmenter weights, and what is declared to be a statistic (float32 [C, H, W])."""

    taken: Annotated[Tensor, Kind.STATISTIC]


class TakingServer(RelayServer):
    """Relays the segmenter, and keeps `taken` of the newest upload for the checkpoint."""

    _taken = torch.zeros(1)

    def absorb(self, uploads: Mapping[str, Any], step: int) -> None:
        super().absorb(uploads, step)
        self._taken = next(iter(uploads.values())).taken

    def state_dict(self) -> State:
        return {**super().state_dict(), "taken": self._taken}

    def load_state_dict(self, state: Weights) -> None:
        super().load_state_dict({name: value for name, value in state.items() if name != "taken"})
