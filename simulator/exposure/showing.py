"""What `wardround exposure RUN` does: attack a finished run, write what was found, and lay it out on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table

from simulator.exposure.findings import Exposure
from simulator.exposure.measuring import Effort, measure
from simulator.store import Store
from simulator.terminal import out
from sites.errors import UserError
from sites.files import write_whole


def expose(folder: Path, effort: Effort, *, as_json: bool) -> None:
    """Write `RUN/exposure.json`, and print it. Raises `UserError` where the run is not done."""
    store = Store(folder)
    if not store.done:
        raise UserError(f"{folder}: the run is not done; finish it with: wardround run --resume {folder}")
    found = measure(store, effort)
    text = found.model_dump_json(indent=2)
    write_whole(folder / "exposure.json", text + "\n")
    if as_json:
        out.print_json(text)
        return
    out.print(_table(found))
    for finding in found.findings:
        out.print(f"- {finding.sentence}", soft_wrap=True)
    for note in found.notes:
        out.print(f"Note: {note}", soft_wrap=True)
    out.print(f"exposure: {folder / 'exposure.json'}", soft_wrap=True)


def _table(found: Exposure) -> Table:
    """Lay the findings out for a terminal of 80 columns; numbers of patients are in the sentences and the JSON."""
    title = f"Exposure of {found.schedule}, {found.strategy}, {found.replays} replays a site"
    table = Table(title=title, box=SIMPLE_HEAD)
    for column in ("target", "site", "attack", "measure"):
        table.add_column(column)
    for column in ("value", "95 % CI", "chance"):
        table.add_column(column, justify="right")
    for row in found.findings:
        value, low, high, chance = (f"{number:.2f}" for number in (row.value, row.low, row.high, row.chance))
        shown = f"[bold]{value}[/bold]" if row.exposes else value
        measure = row.measure.removeprefix("share of ")
        table.add_row(row.target, row.site, row.attack, measure, shown, f"{low}-{high}", chance)
    return table
