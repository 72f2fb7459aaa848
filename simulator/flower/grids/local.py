"""A Grid inside this process: deterministic, serial, without Ray. For tests, and for each trial of a bench."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flwr.app import Message

from simulator.flower.grids.own import OwnGrid
from simulator.flower.site_app import app


class LocalGrid(OwnGrid):
    """Calls the ClientApp for one message after another; payloads cross as bytes, as they do elsewhere."""

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Yield each reply as it comes. There is no waiting here, so `timeout` bounds nothing."""
        for message in messages:
            yield app(message, self._contexts[message.metadata.dst_node_id])
