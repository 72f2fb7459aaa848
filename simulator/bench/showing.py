"""What a person sees before and after a bench: its plan, and what came out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from rich.markup import escape
from rich.table import Table

from simulator.bench import words
from simulator.bench.results import Results
from simulator.bench.scores import SCORES
from simulator.bench.store import Ending
from simulator.bench.trials import Suite, Trial
from simulator.terminal import narrow_table

SHOWN = tuple(SCORES[key] for key in ("dice_accuracy", "dice_unseen", "dice_forgetting"))


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
    table = table_of_strategies(f"{results.suite}: means over the trials that are done")
    for title in (
        "trials\ndone",
        "Dice\nseen",
        "Dice\nunseen",
        "forgetting\nof Dice",
        "bytes up\na trial",
        "CPU time\na trial",
    ):
        table.add_column(title, justify="right")
    done = results.trials[results.trials["status"] == "done"].merge(results.costs, on="trial")

    def cells(schedule: str, strategy: str) -> Iterator[str]:
        planned = results.trials.query("schedule == @schedule and strategy == @strategy")
        found = done.query("schedule == @schedule and strategy == @strategy")
        yield f"{len(found)}/{len(planned)}"
        yield from (score.number(found[score.key].mean()) for score in SHOWN)
        yield words.amount(found["bytes_up"].mean())
        yield words.seconds(found["cpu_seconds"].mean())

    return with_rows(table, results.schedules, results.strategies, cells)


def table_of_strategies(title: str) -> Table:
    """Return a table that 80 columns hold, so far with a column of strategies."""
    table = narrow_table(title)
    table.add_column("strategy", overflow="fold")
    return table


def with_rows(
    table: Table,
    schedules: Sequence[str],
    strategies: Sequence[str],
    cells: Callable[[str, str], Iterable[str]],
) -> Table:
    """Add a row for each schedule and strategy to a table, each schedule under its name where there are several."""
    for schedule in schedules:
        if len(schedules) > 1:
            table.add_row(f"[bold]{escape(schedule)}[/bold]")
        for strategy in strategies:
            table.add_row(escape(strategy), *cells(schedule, strategy))
        table.add_section()
    return table
