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
from rich.markup import escape
from rich.table import Table

from simulator.bench.collecting import Reading
from simulator.bench.store import Ending
from simulator.bench.trials import Suite, Trial
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

    def expect(self, trials: Sequence[Trial], done: Mapping[str, Reading]) -> None:
        """Take in the trials that are chosen, and what those left that were done before."""
        for trial in trials:
            cell = self._cell(trial)
            cell.total += 1
            if trial.identity in done:
                self._count(cell, done[trial.identity])
        self._waiting = len(trials) - len(done)
        self._start = time.monotonic()

    def begin(self, trial: Trial) -> None:
        self._began[trial.identity] = time.monotonic()
        self._cell(trial).running = self._running(trial)

    def end(self, trial: Trial, ending: Ending, reading: Reading | None) -> None:
        """Take in a trial that ended; print its line where there is no terminal."""
        seconds = time.monotonic() - self._began.pop(trial.identity)
        self._seconds.append(seconds)
        cell = self._cell(trial)
        cell.running = self._running(trial)
        if reading is None:
            cell.ended += 1
            cell.failed += 1
            what = f"failed: {ending.reason}"
        else:
            self._count(cell, reading)
            what = f"Dice seen {_short(cell.seen[-1])}, unseen {_short(cell.unseen[-1])}"
        if not err.is_terminal:
            place = f"[{len(self._seconds)}/{self._waiting}] {trial.place}"
            err.print(f"{place}: {what} ({seconds:.1f} s)", markup=False, soft_wrap=True)

    def table(self) -> Table:
        """Return strategies by schedules: ended/total, how many run, and the mean Dice so far, the best in bold."""
        left = self._left()
        table = Table(title=f"{self._suite.config.name}: Dice of seen / unseen sites, mean over the trials so far")
        table.caption = f"{len(self._seconds)} of {self._waiting} trials ended" + (
            f", about {left} left" if left else ""
        )
        table.add_column("strategy")
        for schedule in self._suite.schedules:
            table.add_column(escape(schedule), justify="right")
        best = {schedule: self._best(schedule) for schedule in self._suite.schedules}
        for label in self._suite.config.labels:
            cells = [
                _text(self._cells[label, schedule], best=label == best[schedule]) for schedule in self._suite.schedules
            ]
            table.add_row(escape(label), *cells)
        return table

    def __rich__(self) -> Table:
        return self.table()

    def _cell(self, trial: Trial) -> Cell:
        return self._cells[trial.strategy, trial.schedule_name]

    def _running(self, trial: Trial) -> int:
        kin = {
            other.identity
            for other in self._suite.trials
            if (other.strategy, other.schedule_name) == (trial.strategy, trial.schedule_name)
        }
        return len(kin & self._began.keys())

    def _count(self, cell: Cell, reading: Reading) -> None:
        cell.ended += 1
        cell.seen.append(reading.matrices["dice"].accuracy)
        cell.unseen.append(reading.matrices["dice"].unseen)

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


def _text(cell: Cell, *, best: bool) -> str:
    if not cell.total:
        return "-"
    notes = [f"{cell.ended}/{cell.total}"]
    notes += [f"{cell.running} running"] if cell.running else []
    notes += [f"[red]{cell.failed} failed[/red]"] if cell.failed else []
    dice = f"{_short(_mean(cell.seen))} / {_short(_mean(cell.unseen))}" if cell.seen else ""
    return "  ".join(filter(None, (f"[bold]{dice} (best)[/bold]" if best else dice, ", ".join(notes))))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def _short(value: float) -> str:
    return "-" if isnan(value) else f"{value:.3f}"
