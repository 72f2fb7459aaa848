"""What `wardround exposure` does with a bench: attack every trial that is done, and draw exposure against Dice."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from simulator.bench.collecting import collect
from simulator.bench.exposed import FILE, strongest
from simulator.bench.results import Results
from simulator.bench.revisiting import revisit
from simulator.bench.running import write_report
from simulator.bench.store import BenchStore
from simulator.exposure.measuring import Effort, measure
from simulator.report.words import NONE
from simulator.store import Store
from simulator.terminal import out
from sites.files import write_whole


def expose_bench(folder: Path, effort: Effort, *, as_json: bool) -> None:
    """Attack each trial that is done and was not attacked yet, and write the tables, figures and report anew.

    Raises `UserError`, before any attack, where no trial is done, or one to attack has let go of its networks.
    """
    store = BenchStore(folder)
    for root in revisit(store, FILE):
        write_whole(root / FILE, measure(Store(root), effort).model_dump_json(indent=2) + "\n")
    report = write_report(folder)
    results = collect(store)
    if as_json:
        told = {
            schedule: {name: asdict(one) for name, one in strongest(results, schedule).items() if one.trials}
            for schedule in results.schedules
        }
        # A deviation of one trial is not a number, which JSON does not have.
        text = json.dumps({"bench": str(folder), "report": str(report), "auc": told}).replace("NaN", "null")
        out.print_json(text)
        return
    out.print(_table(results))
    out.print(f"report: {report}", soft_wrap=True)


def _table(results: Results) -> Table:
    table = Table(title=f"Membership inference on the trials of {results.suite}: 0.5 is chance")
    for column in ("schedule", "strategy", "AUC", "trials"):
        table.add_column(column, justify="right" if column in ("AUC", "trials") else "left")
    for schedule in results.schedules:
        for name, one in strongest(results, schedule).items():
            table.add_row(schedule, name, f"{one.mean:.2f}" if one.trials else NONE, str(one.trials))
    return table
