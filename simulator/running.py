"""What `wardround run` does: check, make the run folder, run, and show what came of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.choices import GridName
from simulator.contract import Contracts, Purpose
from simulator.defending import masked
from simulator.metrics import METRICS, ScoreMatrix
from simulator.schedule import Schedule, read_schedule
from simulator.store import Store
from simulator.terminal import err, out, progress_bar, release_table, score_table, summary_table, timeline_table
from sites.stream import Turn
from sites.wire import Manifest

if TYPE_CHECKING:
    from simulator.loop import Progress


def start(
    path: Path,
    overrides: Sequence[str],
    seed: int | None,
    folder: Path | None,
    *,
    grid: GridName,
    address: str | None,
    as_json: bool,
) -> None:
    """Run a schedule in a new run folder. Raises `UserError` before any work, or `SitesFailed`."""
    schedule = read_schedule(path, overrides, seed)
    schedule.check()
    if folder is None:
        folder = Path("runs") / f"{schedule.config.name}-{datetime.now():%Y%m%d-%H%M%S}"
    _go(Store.create(folder, schedule), grid, address, as_json=as_json)


def go_on(folder: Path, grid: GridName, address: str | None, *, as_json: bool) -> None:
    """Go on with a run that was stopped; one that is done is only shown."""
    _go(Store(folder), grid, address, as_json=as_json)


def describe(path: Path, overrides: Sequence[str], seed: int | None, *, as_json: bool) -> None:
    """Check a schedule as a run would, and print its resolved timeline and what would leave each site."""
    schedule = read_schedule(path, overrides, seed)
    schedule.check()
    first = Turn(step=1, round=1, serial=1)
    upload = Contracts(schedule).of(Purpose.LEARN, first, masked=masked(schedule)).sent.manifest
    if as_json:
        out.print_json(json.dumps(_described(schedule, upload)))
        return
    out.print(timeline_table(schedule))
    out.print(release_table(upload))


def write_report(store: Store) -> Path:
    """Write `report.html` into a run folder, and return its path."""
    from simulator.report.load import view_of
    from simulator.report.page import write_page

    path = store.root / "report.html"
    write_page(view_of(store), path)
    return path


def _go(store: Store, grid: GridName, address: str | None, *, as_json: bool) -> None:
    if not store.done:
        try:
            with progress_bar() as bar:
                _run(store, grid, address, bar)
        except BaseException:
            err.print(f"stopped; to go on: wardround run --resume {store.root}", soft_wrap=True)
            raise
    _show(store, as_json=as_json)


def _run(store: Store, grid: GridName, address: str | None, progress: Progress) -> None:
    if grid is GridName.WIRE:
        from simulator.flower.deployment import deploy

        deploy(store, progress)
        return
    from simulator.flower.launch import launch

    launch(store, "local" if grid is GridName.LOCAL else "actors", progress, address)


def _show(store: Store, *, as_json: bool) -> None:
    scores, arrivals = store.scores(), store.schedule().timeline.arrivals
    matrices = {metric.key: ScoreMatrix.from_rows(scores, metric.key, arrivals) for metric in METRICS}
    report = write_report(store)
    summaries = {key: matrix.summary() for key, matrix in matrices.items()}
    if as_json:
        result = {"run": str(store.root), "report": str(report), "complete": store.done, "scores": _defined(summaries)}
        out.print_json(json.dumps(result))
        return
    out.print(score_table(matrices["dice"]))
    out.print(summary_table({metric.title: summaries[metric.key] for metric in METRICS}))
    out.print(f"report: {report}", soft_wrap=True)


def _defined(summaries: dict[str, dict[str, float]]) -> dict[str, dict[str, float | None]]:
    """Put null where a score is not defined: JSON has no NaN."""
    return {
        metric: {name: None if isnan(value) else value for name, value in summary.items()}
        for metric, summary in summaries.items()
    }


def _described(schedule: Schedule, upload: Manifest) -> dict[str, Any]:
    timeline = schedule.timeline
    return {
        "schedule": schedule.resolved(),
        "steps": [
            {"step": step.number, "arriving": list(step.arriving), "online": list(step.online)}
            for step in timeline.steps
        ],
        "unseen": list(timeline.unseen),
        "releases": [
            {"field": leaf.key, "kind": leaf.kind, "dtype": leaf.dtype, "shape": list(leaf.shape), "bytes": leaf.nbytes}
            for leaf in upload
        ],
    }
