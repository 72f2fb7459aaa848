"""Sites in sequence: those that arrive in one step learn one after another, as each builds on what came before it."""

from __future__ import annotations

from typing import TypeVar

from sites.wire import Payload
from strategies import Server

Down = TypeVar("Down", bound=Payload)
Up = TypeVar("Up", bound=Payload)


class SequentialServer(Server[Down, Up]):
    """A server that has one site learn at a time."""

    def rota(self, arriving: tuple[str, ...], online: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        return tuple((site,) for site in arriving)
