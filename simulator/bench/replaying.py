"""What `wardround replay` does with a bench: measure the replays of every trial that is done, and put them together."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pandas as pd
from rich.markup import escape
from rich.table import Table

from simulator.bench.revisiting import revisit
from simulator.bench.showing import table_of_strategies
from simulator.bench.statistics import estimate
from simulator.bench.store import BenchStore
from simulator.fidelity import NEAR, Fidelity
from simulator.replaying import FIDELITY, FOLDER, write_replays
from simulator.report.words import NONE
from simulator.store import Store
from simulator.terminal import out, progress_bar
from sites.errors import UserError
from sites.files import write_whole

NARROWEST = 6
OF_TRIAL = ("trial", "schedule", "strategy", "order", "seed")


def replay_bench(folder: Path, count: int, held_out: int | None, *, as_json: bool) -> None:
    """Measure the replays of each trial that is done and was not measured yet; write `BENCH/fidelity.csv`.

    Raises `UserError`, before any is measured, where no trial is done or one has let go of its networks; and where none
    makes replays.
    """
    store = BenchStore(folder)
    for root in revisit(store, f"{FOLDER}/{FIDELITY}"):
        with progress_bar() as bar:
            write_replays(Store(root), count, held_out, bar)
    found = fidelity_of(store)
    if found.empty:
        raise UserError(f"{folder}: no trial that is done makes replays; run a suite with smdr in it")
    write_whole(folder / FIDELITY, found.to_csv(index=False))
    if as_json:
        out.print_json(found.to_json(orient="records", double_precision=15))
        return
    out.print(_table(found))
    out.print(f"each trial: {folder / FIDELITY}", soft_wrap=True)


def fidelity_of(store: BenchStore) -> pd.DataFrame:
    """Return the fidelity of the replays of all trials that were measured: a row for each trial and site.

    A measure that an earlier version did not take is not a number.
    """
    rows = []
    for planned in store.planned:
        path = store.trial_root(planned.trial) / FOLDER / FIDELITY
        if path.exists():
            about = {name: getattr(planned, name) for name in OF_TRIAL}
            rows += [about | row for row in pd.read_csv(path).to_dict("records")]
    return pd.DataFrame(rows, columns=[*OF_TRIAL, *(field.name for field in fields(Fidelity))])


def _table(found: pd.DataFrame) -> Table:
    """Return a row for each strategy and site, each schedule under its name where there are several."""
    table = table_of_strategies("How faithful replays are: means over trials")
    table.add_column("site")
    for title in (
        "fewest\nhits",
        "Dice, real\nless replay",
        "for real\nmasks",
        "diverse",
        "nearest\nimage",
        "nearer\n(.05)",
        "trials\ntold",
    ):
        table.add_column(title, justify="right", min_width=max(NARROWEST, *map(len, title.split())))
    for schedule, trials in found.groupby("schedule", sort=False):
        if found["schedule"].nunique() > 1:
            table.add_row(f"[bold]{escape(str(schedule))}[/bold]")
        for (strategy, site), rows in trials.groupby(["strategy", "site"], sort=False):
            table.add_row(
                escape(str(strategy)),
                escape(str(site)),
                f"{rows['hits'].min():.2f}",
                _mean(rows["real_dice"] - rows["dice"], digits=3),
                _mean(rows["real_dice"] - rows["painted_dice"], digits=3),
                _mean(rows["diversity"], digits=2),
                _mean(rows["nearest"], digits=2),
                _mean(rows["nearer"], digits=2),
                _told(rows["nearer_low"]),
            )
        table.add_section()
    table.caption = (
        "Behind ±: half of the 95 % confidence interval, from three trials on. "
        "For real masks: Dice of real images less that of images made for their masks. "
        "Trials told: those whose interval of `nearer` lies above .05."
    )
    return table


def _told(lows: pd.Series[float]) -> str:
    """Say in how many trials replays are told to lie nearer than held-out images, of those where it was asked."""
    asked = lows.dropna()
    return f"{(asked > NEAR).sum()} of {len(asked)}" if len(asked) else NONE


def _mean(values: pd.Series[float], digits: int) -> str:
    found = estimate(values.tolist())
    if not found.trials:
        return NONE
    margin = f" ±{found.margin:.{digits}f}".replace("±0.", "±.") if found.drawn else ""
    return f"{found.mean:.{digits}f}{margin}"
