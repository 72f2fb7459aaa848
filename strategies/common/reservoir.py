"""A segmenter that goes from site to site with a reservoir of real slices: server and blanks of ER and DER++."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn

from sites.stream import Arrival
from sites.wire import Payload
from strategies import State, StrategyConfig
from strategies.common.exemplars import Buffer, reservoir_share
from strategies.common.segmenter import blank_segmenter, build_segmenter
from strategies.common.sequence import SequentialServer
from strategies.common.state import part_of
from strategies.common.turns import Turns
from strategies.setting import Setting

P = TypeVar("P", bound=Payload)
Blank = Callable[[Setting, int, str], Mapping[str, Tensor]]


class ReservoirConfig(StrategyConfig):
    """Settings of replay: `buffer` is the number of slices kept of all sites together (0: fine-tuning)."""

    buffer: int = Field(default=64, ge=0)


class ReservoirServer(SequentialServer[Any, Any]):
    """Passes the segmenter from one site to the next, and keeps the reservoir.

    form: builds the broadcast of segmenter, the reservoir's tensors, counts and seen
    blank: names and shapes what is kept of a slice, which uploads hold under the same names
    """

    def __init__(self, config: ReservoirConfig, setting: Setting, form: Callable[..., Payload], blank: Blank) -> None:
        self._form = form
        self._segmenter = build_segmenter(setting)
        self._size = config.buffer
        self._buffer = Buffer(blank(setting, config.buffer, "cpu"), setting.sites)
        self._seen = 0
        self._turns = Turns(setting)

    def broadcast(self, site: str, step: int) -> Payload:
        return self._form(
            segmenter=self._segmenter.state_dict(),
            **self._buffer.padded(),
            counts=self._buffer.counts(),
            seen=torch.tensor([self._seen]),
        )

    def absorb(self, uploads: Mapping[str, Any], step: int) -> None:
        for site, upload in uploads.items():
            self._segmenter.load_state_dict(dict(upload.segmenter))
            if self._turns.take(site):
                held = int(upload.held)
                self._buffer.thin(self._size - held)
                self._buffer.add(site, {name: getattr(upload, name)[:held] for name in self._buffer.rows()})
                self._seen += int(upload.slices)

    def predictor(self, site: str) -> nn.Module:
        return self._segmenter

    def state_dict(self) -> State:
        return {
            **self._segmenter.state_dict(prefix="segmenter/"),
            **self._buffer.state_dict(),
            **self._turns.state_dict(),
            "seen": torch.tensor(self._seen),
        }

    def load_state_dict(self, state: State) -> None:
        self._segmenter.load_state_dict(part_of(state, "segmenter/"))
        self._buffer.load_state_dict(state)
        self._turns.load_state_dict(state)
        self._seen = int(state["seen"])


def rows_of(config: ReservoirConfig, setting: Setting) -> int:
    """Return how many exemplars a site can release in one step."""
    return min(config.buffer, setting.most_cases * setting.shape.slices)


def chosen_of(config: ReservoirConfig, setting: Setting, seen: Tensor, arrival: Arrival, slices: int) -> Tensor:
    """Choose which of a site's slices the reservoir takes in after `seen` others: none before a step's last round."""
    last = arrival.round == setting.budget.rounds
    count = reservoir_share(int(seen), slices, config.buffer) if last else 0
    return torch.randperm(slices)[:count]


def blank_broadcast(form: Callable[..., P], config: ReservoirConfig, setting: Setting, blank: Blank) -> P:
    """Return a broadcast without values."""
    return form(
        segmenter=blank_segmenter(setting),
        **blank(setting, config.buffer, "meta"),
        counts=torch.zeros(len(setting.sites), dtype=torch.int64, device="meta"),
        seen=torch.zeros(1, dtype=torch.int64, device="meta"),
    )


def blank_upload(form: Callable[..., P], config: ReservoirConfig, setting: Setting, blank: Blank) -> P:
    """Return an upload without values."""
    return form(
        segmenter=blank_segmenter(setting),
        **blank(setting, rows_of(config, setting), "meta"),
        held=torch.zeros(1, dtype=torch.int64, device="meta"),
        slices=torch.zeros(1, dtype=torch.int64, device="meta"),
    )
