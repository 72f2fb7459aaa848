"""One state out of several: a server writes each part's under a prefix of its own."""

from __future__ import annotations

from strategies import State


def part_of(state: State, prefix: str) -> State:
    """Return what a state holds under a prefix, by the names without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
