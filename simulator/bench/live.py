"""What a person sees of a bench: a live table on a terminal, a line for each ended trial on a pipe."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from math import isnan

from rich.live import Live
from rich.table import Table

from simulator.bench.scores import SEEN, UNSEEN
from simulator.bench.showing import table_of_strategies, with_rows
from simulator.bench.store import Ending
from simulator.bench.trials import Suite, Trial
from simulator.metrics import ScoreMatrix
from simulator.terminal import err


@dataclass(kw_only=True)
class Cell:
    """Where one strategy stands on one schedule. `seen`, `unseen`: final mean Dice of each trial that is done."""

    total: int = 0
    ended: int = 0
    failed: int = 0
    running: int = 0
    seen: list[float] = field(default_factory=list)
    unseen: list[float] = field(default_factory=list)


class Board:
    """Follows the trials of a bench."""

    def __init__(self, suite: Suite) -> None:
        self._suite = suite
        self._cells: dict[tuple[str, str], Cell] = defaultdict(Cell)
        self._began: dict[str, float] = {}
        self._seconds: list[float] = []
        self._start = time.monotonic()
        self._waiting = 0

    def expect(self, trials: Sequence[Trial], done: Mapping[str, ScoreMatrix]) -> None:
        """Take in the trials that are chosen, and the Dice of those that were done before, by identity."""
        for trial in trials:
            cell = self._cell(trial)
            cell.total += 1
            if trial.identity in done:
                self._count(cell, done[trial.identity])
        self._waiting = len(trials) - len(done)
        self._start = time.monotonic()

    def begin(self, trial: Trial) -> None:
        """Take in a trial that begins, or begins again since its worker died."""
        self._cell(trial).running += trial.identity not in self._began
        self._began[trial.identity] = time.monotonic()

    def end(self, trial: Trial, ending: Ending, dice: ScoreMatrix | None) -> None:
        """Take in a trial that ended, with its Dice where it is done; print its line where there is no terminal."""
        seconds = time.monotonic() - self._began.pop(trial.identity)
        self._seconds.append(seconds)
        cell = self._cell(trial)
        cell.running -= 1
        if dice is None:
            cell.ended += 1
            cell.failed += 1
            what = f"failed: {ending.reason}"
        else:
            self._count(cell, dice)
            what = f"Dice seen {SEEN.number(cell.seen[-1])}, unseen {UNSEEN.number(cell.unseen[-1])}"
        if not err.is_terminal:
            place = f"[{len(self._seconds)}/{self._waiting}] {trial.place}"
            err.print(f"{place}: {what} ({seconds:.1f} s)", markup=False, soft_wrap=True)

    def table(self) -> Table:
        """Return a row for each schedule and strategy: the mean Dice so far, * at the best, and how many trials."""
        left = self._left()
        told = f"{self._suite.config.name}: {len(self._seconds)} of {self._waiting} trials ended"
        table = table_of_strategies(f"{told}, about {left} left" if left else told)
        table.caption = "Mean Dice of the trials so far; *: best on seen sites"
        for title in ("Dice\nseen", "Dice\nunseen", "trials\nended", "running", "failed"):
            table.add_column(title, justify="right")
        best = {schedule: self._best(schedule) for schedule in self._suite.schedules}

        def cells(schedule: str, strategy: str) -> Iterator[str]:
            cell = self._cells[strategy, schedule]
            seen = SEEN.number(_mean(cell.seen))
            yield f"[bold]*{seen}[/bold]" if strategy == best[schedule] else seen
            yield UNSEEN.number(_mean(cell.unseen))
            yield f"{cell.ended}/{cell.total}"
            yield str(cell.running or "")
            yield f"[red]{cell.failed}[/red]" if cell.failed else ""

        return with_rows(table, self._suite.schedules, self._suite.config.labels, cells)

    def __rich__(self) -> Table:
        return self.table()

    def _cell(self, trial: Trial) -> Cell:
        return self._cells[trial.strategy, trial.schedule_name]

    def _count(self, cell: Cell, dice: ScoreMatrix) -> None:
        cell.ended += 1
        cell.seen.append(dice.accuracy)
        cell.unseen.append(dice.unseen)

    def _best(self, schedule: str) -> str | None:
        means = {label: _mean(self._cells[label, schedule].seen) for label in self._suite.config.labels}
        known = {label: mean for label, mean in means.items() if not isnan(mean)}
        return max(known, key=lambda label: known[label]) if len(known) > 1 else None

    def _left(self) -> str:
        """Return the time left, as the trials so far went: "" before the first has ended."""
        ended, remaining = len(self._seconds), self._waiting - len(self._seconds)
        if not (ended and remaining):
            return ""
        return str(timedelta(seconds=round((time.monotonic() - self._start) / ended * remaining)))


@contextmanager
def shown(board: Board) -> Iterator[None]:
    """Show a board on a terminal while a bench goes on."""
    if not err.is_terminal:
        yield
        return
    with Live(board, console=err, transient=True, refresh_per_second=4, redirect_stdout=False, redirect_stderr=False):
        yield


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
