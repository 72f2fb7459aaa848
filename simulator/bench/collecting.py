"""Reads what the trials of a bench left, and writes it as tables."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from simulator.bench.adding import Added
from simulator.bench.exposed import exposure_of
from simulator.bench.keeping import segmenters_of
from simulator.bench.results import Results
from simulator.bench.store import BenchStore, commit_of
from simulator.contract import Purpose
from simulator.metrics import METRICS, NAN, ScoreMatrix
from simulator.store import Store
from sites.files import write_whole
from strategies import as_sent

TOLD = ("trial", "schedule", "strategy", "order", "seed", "status", "reason")
SCORES = ("accuracy", "unseen", "plasticity", "backward_transfer", "forgetting", "forward_transfer")
SCORE_COLUMNS = (*(f"{metric.key}_{score}" for metric in METRICS for score in SCORES), "dice_intransigence")
RELEASED = ("bytes_up", "bytes_first", "kinds_up")
HOW = ("sited", "commit")
MATRIX = ("trial", "step", "site", "arrived", *(metric.key for metric in METRICS))
DIAGNOSTICS = ("trial", "step", "site", "name", "index", "value")
TIMES = ("trial", "step", "purpose", "cpu_seconds", "wall_seconds")
SPENT = ["cpu_seconds", "wall_seconds"]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one trial left.

    trial: the identity that it was run under; matrices: by metric; released: bytes_up, bytes_first, kinds_up
    how: sited, which is what `is_sited` says, and commit
    """

    trial: str
    matrices: Mapping[str, ScoreMatrix]
    released: Mapping[str, Any]
    times: list[dict[str, Any]]
    diagnostics: list[dict[str, Any]]
    how: Mapping[str, Any]

    def scores(self) -> dict[str, float]:
        """Return every score by its column, apart from those that need another trial."""
        return {
            f"{key}_{name}": value for key, matrix in self.matrices.items() for name, value in matrix.summary().items()
        }


def read_trial(root: Path, arrivals: Mapping[str, tuple[int, ...]]) -> Reading:
    """Read a trial that is done from its run folder."""
    store = Store(root)
    scores, times = store.scores(), store.times()
    learning = [row for row in store.releases() if row["purpose"] == Purpose.LEARN]
    first: list[str] = next((row["sites"] for row in times if row["serial"] == 1), [])
    opening = [row for row in learning if row["step"] == 1 and row["round"] == 1 and row["site"] in first]
    return Reading(
        trial=root.name,
        matrices={metric.key: ScoreMatrix.from_rows(scores, metric.key, arrivals) for metric in METRICS},
        released={
            "bytes_up": sum(row["bytes"] for row in learning),
            "bytes_first": sum(row["bytes"] for row in opening),
            "kinds_up": "+".join(sorted({row["kind"] for row in learning})),
        },
        times=times,
        diagnostics=store.diagnostics(),
        how={"sited": is_sited(store), "commit": commit_of(store.versions())},
    )


def read_added(added: Added, arrivals: Mapping[str, tuple[int, ...]]) -> Reading:
    """Read a trial that was measured elsewhere from the tables that came of it. Its diagnostics did not come along."""
    grid = added.matrix.set_index(["step", "site"])
    matrices = {
        metric.key: ScoreMatrix(
            grid[metric.key].unstack("site")[list(arrivals)].to_numpy(),
            tuple(arrivals),
            arrivals,
            metric.higher_is_better,
        )
        for metric in METRICS
    }
    return Reading(
        trial=added.row["trial"],
        matrices=matrices,
        released={name: added.row[name] for name in RELEASED},
        times=[{str(name): value for name, value in row.items()} for row in added.costs.to_dict("records")],
        diagnostics=[],
        how={name: added.row[name] for name in HOW},
    )


def read_dice(root: Path, arrivals: Mapping[str, tuple[int, ...]]) -> ScoreMatrix:
    """Read the Dice of a trial that is done from its run folder."""
    return ScoreMatrix.from_rows(Store(root).scores(), "dice", arrivals)


def is_sited(store: Store) -> bool:
    """Say whether a run segments a site with weights or statistics of its own, so that an image's site must be known.

    They are either at the server, which then has a segmenter for each site, or come to the one that it sends at home.
    """
    return len(set(segmenters_of(store.root).values())) > 1 or store.schedule().strategy.at_home is not as_sent


def collect(bench: BenchStore) -> Results:
    """Return all that a bench measured so far, in the suite's order. A trial that is not done has no scores."""
    planned = bench.planned
    endings = {row.trial: bench.ending(row.trial) for row in planned}
    readings = {
        row.trial: read_added(bench.added[row.trial], row.arrivals)
        if endings[row.trial].status == "added"
        else read_trial(bench.trial_root(row.trial), row.arrivals)
        for row in planned
        if endings[row.trial].measured
    }
    joint = {
        (row.schedule, row.order, row.seed): readings.get(row.trial)
        for row in planned
        if row.strategy == bench.plan["reference"]
    }
    told = [
        {key: getattr(row, key) for key in TOLD[:5]}
        | {"status": "done" if row.trial in readings else ending.status, "reason": ending.reason}
        | _measured(readings.get(row.trial), joint.get((row.schedule, row.order, row.seed)))
        for row, ending in zip(planned, endings.values(), strict=True)
    ]
    found = readings.values()
    times = pd.DataFrame([row | {"trial": one.trial} for one in found for row in one.times], columns=TIMES)
    diagnostics = [row | {"trial": one.trial} for one in found for row in one.diagnostics]
    return Results(
        suite=bench.plan["suite"],
        description=bench.plan["description"],
        reference=bench.plan["reference"],
        control=bench.plan.get("control"),
        strategies=tuple(bench.plan["strategies"]),
        schedules=tuple(bench.plan["schedules"]),
        trials=pd.DataFrame(told, columns=[*TOLD, *SCORE_COLUMNS, *RELEASED, *HOW]),
        matrix=pd.DataFrame([row for one in found for row in _cells(one)], columns=MATRIX),
        diagnostics=pd.DataFrame(diagnostics, columns=DIAGNOSTICS),
        times=times.groupby(["trial", "step", "purpose"], sort=False, dropna=False)[SPENT].sum().reset_index(),
        machine=bench.machine(),
        exposure=exposure_of(bench),
    )


def write_tables(results: Results, folder: Path) -> None:
    """Write `results.parquet` and the CSV tables into a bench folder, each whole."""
    for name, table in (("results", results.trials), ("matrix", results.matrix), ("costs", results.times)):
        write_whole(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    if len(results.exposure):
        write_whole(folder / "exposure.csv", results.exposure.to_csv(index=False, lineterminator="\n"))
    for name, table in (("results", results.trials), ("diagnostics", results.diagnostics)):
        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False)
        write_whole(folder / f"{name}.parquet", buffer.getvalue())


def _measured(reading: Reading | None, joint: Reading | None) -> dict[str, Any]:
    """Return what a trial's reading says of it; its scores NaN and the rest 0, "" and False where it is not done."""
    if reading is None:
        nothing = {"bytes_up": 0, "bytes_first": 0, "kinds_up": "", "sited": False, "commit": ""}
        return {**dict.fromkeys(SCORE_COLUMNS, NAN), **nothing}
    cost = reading.matrices["dice"].intransigence(joint.matrices["dice"]) if joint else NAN
    return {"trial": reading.trial, **reading.scores(), "dice_intransigence": cost, **reading.released, **reading.how}


def _cells(reading: Reading) -> list[dict[str, Any]]:
    dice = reading.matrices["dice"]
    return [
        {"trial": reading.trial, "step": step, "site": site, "arrived": next(iter(dice.arrivals[site]), 0)}
        | {key: matrix.score(step, site) for key, matrix in reading.matrices.items()}
        for step in range(dice.steps + 1)
        for site in dice.sites
    ]
