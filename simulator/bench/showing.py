"""What a person sees before and after a bench: its plan, and what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan

from rich.markup import escape
from rich.table import Table

from simulator.bench.results import Results
from simulator.bench.store import Ending
from simulator.bench.trials import Suite, Trial

SHOWN = {"dice_accuracy": "Dice seen", "dice_unseen": "Dice unseen", "dice_forgetting": "forgetting"}


def plan_table(suite: Suite, chosen: Sequence[Trial], endings: Mapping[str, Ending]) -> Table:
    """Return a row for each trial: what it is, its identity, and whether it is done."""
    table = Table(title=f"{suite.config.name}: {len(chosen)} trials")
    for column in ("schedule", "strategy", "order", "seed", "trial", "state"):
        table.add_column(column, justify="right" if column == "seed" else "left")
    for trial in chosen:
        state = endings[trial.identity].status
        cells = (trial.schedule_name, trial.strategy, trial.order, str(trial.seed), trial.identity)
        table.add_row(*map(escape, cells), "to run" if state == "missing" else state)
    return table


def result_table(results: Results) -> Table:
    """Return a row for each schedule and strategy: trials done, and means over them; a dash where there is none."""
    table = Table(title=f"{results.suite}: means over the trials that are done")
    table.add_column("schedule")
    table.add_column("strategy")
    for title in ("trials", *SHOWN.values(), "bytes up", "CPU s"):
        table.add_column(title, justify="right")
    done = results.trials[results.trials["status"] == "done"].merge(results.costs, on="trial")
    for schedule in results.schedules:
        for strategy in results.strategies:
            planned = results.trials.query("schedule == @schedule and strategy == @strategy")
            found = done.query("schedule == @schedule and strategy == @strategy")
            scores = [_shown(found[column].mean(), "{:.3f}") for column in SHOWN]
            rest = [_shown(found["bytes_up"].mean(), "{:,.0f}"), _shown(found["cpu_seconds"].mean(), "{:.1f}")]
            table.add_row(escape(schedule), escape(strategy), f"{len(found)}/{len(planned)}", *scores, *rest)
        table.add_section()
    return table


def _shown(value: float, form: str) -> str:
    return "-" if isnan(value) else form.format(value)
