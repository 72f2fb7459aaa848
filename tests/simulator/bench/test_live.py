"""The live table of a bench: progress, what runs, the time left, and the best so far."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from simulator.bench.live import Board
from simulator.bench.store import Ending
from simulator.bench.trials import Trial, read_suite
from simulator.metrics import ScoreMatrix

DONE = Ending(status="done")


def matrix(dice: float) -> ScoreMatrix:
    """A trial that ended with this Dice on the seen site, and half of it on the unseen one."""
    return ScoreMatrix(np.array([[0.0, 0.0], [dice, dice / 2]]), ("A", "E"), {"A": (1,), "E": ()})


def text(board: Board) -> str:
    """What a person sees on a terminal of 80 columns, with one space between words."""
    console = Console(width=80)
    with console.capture() as shown:
        console.print(board)
    return " ".join(shown.get().split())


@pytest.fixture
def board(suite: Callable[..., Path]) -> tuple[Board, tuple[Trial, ...]]:
    read = read_suite(suite(seeds=2))
    return Board(read), read.trials


def test_the_best_so_far_is_marked_and_what_ended_is_counted(board: tuple[Board, tuple[Trial, ...]]) -> None:
    table, (first, second, third, fourth) = board
    table.expect([first, second, third, fourth], {first.identity: matrix(0.8)})
    table.begin(second)
    table.begin(third)
    assert "finetune .800 .400 1/2 1 joint \N{EN DASH} \N{EN DASH} 0/2 1" in text(table), (
        "one strategy alone is not the best"
    )
    table.end(third, DONE, matrix(0.6))
    table.end(second, DONE, matrix(0.9))
    told = text(table)
    assert "finetune *.850 .425 2/2 joint .600 .300 1/2" in told
    assert "2 of 3 trials ended, about 0:00:0" in told


def test_a_failed_trial_shows_and_adds_nothing_to_the_mean(board: tuple[Board, tuple[Trial, ...]]) -> None:
    table, (first, second, *_) = board
    table.expect([first, second], {})
    for trial, ending, found in (
        (first, DONE, matrix(0.5)),
        (second, Ending(status="failed", reason="no"), None),
    ):
        table.begin(trial)
        table.end(trial, ending, found)
    assert "finetune .500 .250 2/2 1 joint" in text(table)
    assert "left" not in text(table)
