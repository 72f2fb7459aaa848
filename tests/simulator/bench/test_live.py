"""The live table of a bench: progress, what runs, the time left, and the best so far."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from simulator.bench.collecting import Reading
from simulator.bench.live import Board
from simulator.bench.store import Ending
from simulator.bench.trials import Trial, read_suite
from simulator.metrics import ScoreMatrix

DONE = Ending(status="done")


def reading(dice: float) -> Reading:
    """A trial that ended with this Dice on the seen site, and half of it on the unseen one."""
    matrix = ScoreMatrix(np.array([[0.0, 0.0], [dice, dice / 2]]), ("A", "E"), {"A": (1,), "E": ()})
    return Reading(matrices={"dice": matrix}, released={}, sited=False, times=[], diagnostics=[])


def text(board: Board) -> str:
    """What a person sees on a wide terminal."""
    console = Console(width=160)
    with console.capture() as shown:
        console.print(board)
    return shown.get()


@pytest.fixture
def board(suite: Callable[..., Path]) -> tuple[Board, tuple[Trial, ...]]:
    read = read_suite(suite(seeds=2))
    return Board(read), read.trials


def test_the_best_so_far_is_marked_and_what_ended_is_counted(board: tuple[Board, tuple[Trial, ...]]) -> None:
    table, (first, second, third, fourth) = board
    table.expect([first, second, third, fourth], {first.identity: reading(0.8)})
    table.begin(second)
    table.begin(third)
    assert "1/2, 1 running" in text(table)
    assert "best" not in text(table), "one strategy alone is not the best"
    table.end(third, DONE, reading(0.6))
    table.end(second, DONE, reading(0.9))
    told = text(table)
    assert "0.850 / 0.425 (best)  2/2" in told
    assert "0.600 / 0.300  1/2" in told
    assert "2 of 3 trials ended, about 0:00:0" in told


def test_a_failed_trial_shows_and_adds_nothing_to_the_mean(board: tuple[Board, tuple[Trial, ...]]) -> None:
    table, (first, second, *_) = board
    table.expect([first, second], {})
    for trial, ending, found in (
        (first, DONE, reading(0.5)),
        (second, Ending(status="failed", reason="no"), None),
    ):
        table.begin(trial)
        table.end(trial, ending, found)
    assert "0.500 / 0.250  2/2, 1 failed" in text(table)
    assert "left" not in text(table)
