"""Progress that is kept instead of shown."""

from __future__ import annotations

from simulator.flower.server_app import Silence


class Counted(Silence):
    """Counts to a total, and keeps what it is told."""

    total = count = 0

    def __init__(self) -> None:
        self.said: list[str] = []

    def begin(self, total: int, done: int) -> None:
        self.total, self.count = total, done

    def doing(self, what: str) -> None:
        self.said.append(what)

    def advance(self, count: int = 1) -> None:
        self.count += count
