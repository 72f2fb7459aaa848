"""What `wardround bench` does: lay out the trials, check them, run what is not done, and show what came of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from simulator.bench.adding import Addition, look_through
from simulator.bench.checking import Deviation, deviations, freeze, read_golden
from simulator.bench.collecting import collect, read_dice, read_trial, write_tables
from simulator.bench.keeping import tidy
from simulator.bench.live import Board, shown
from simulator.bench.outputs import write_outputs
from simulator.bench.results import Results
from simulator.bench.showing import plan_table, result_table
from simulator.bench.store import BenchStore, Ending
from simulator.bench.tracking import Tracker, TrackerName, tracked_of, tracker_of
from simulator.bench.trials import Suite, Trial, read_suite
from simulator.metrics import ScoreMatrix
from simulator.report.words import counted, listed
from simulator.terminal import err, out
from sites.errors import ConfigError, UserError


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What of a suite is wanted, and what should become of it.

    seeds, only: the seeds and strategy labels to run; all where empty
    address, parallel: which Ray, and how many trials at a time
    track: where to show each trial besides
    check, freeze: golden figures to hold the scores against, or to write
    add: folders with the tables of trials that were measured elsewhere, to take over
    """

    seeds: tuple[int, ...] = ()
    only: tuple[str, ...] = ()
    address: str | None = None
    parallel: int | None = None
    track: TrackerName | None = None
    check: Path | None = None
    freeze: Path | None = None
    add: tuple[Path, ...] = ()


def bench(path: Path, overrides: Sequence[str], folder: Path | None, wanted: Wanted, *, as_json: bool) -> int:
    """Run a suite, or go on with it; return 0 where every chosen trial is done (and in tolerance), else 1.

    Raises `UserError` before any work.
    """
    golden = read_golden(wanted.check) if wanted.check else None
    if wanted.freeze and wanted.freeze.exists():
        raise UserError(f"{wanted.freeze}: is there already; move it away, or name another file to --freeze")
    suite = read_suite(path, overrides)
    chosen = _chosen(suite, wanted)
    root = folder or Path("benches") / suite.config.name
    tracker = tracker_of(wanted.track, root, suite.config.name) if wanted.track else None
    before = _endings(root, chosen)
    check([trial for trial in chosen if not before[trial.identity].measured])
    additions = {folder: look_through(suite, folder) for folder in wanted.add}
    store = BenchStore.open(root, suite)
    with store.held():
        for elsewhere, addition in additions.items():
            store.add(addition)
            _tell_of(elsewhere, addition)
        try:
            _run(store, suite, chosen, wanted)
        except KeyboardInterrupt:
            err.print("stopped; to go on, give the same command again", soft_wrap=True)
            raise
        results = collect(store)
        write_tables(results, store.root)
        with err.status("drawing figures and the report"):
            report = write_outputs(results, store.root)[-1]
        if tracker is not None:
            _track(store, chosen, tracker)
    unfinished = [trial for trial in chosen if not store.ending(trial.identity).measured]
    off = deviations(results, golden, {trial.identity for trial in chosen}) if golden else []
    if wanted.freeze and not unfinished:
        freeze(results, wanted.freeze)
    _show(store, results, off, report, as_json=as_json)
    if golden and not (off or as_json):
        out.print(f"checked: {counted(len(chosen), 'trial')} within the tolerances of {wanted.check}", soft_wrap=True)
    return 1 if unfinished or off else 0


def _tell_of(elsewhere: Path, addition: Addition) -> None:
    left = f"; not of {listed(addition.otherwise)}, set otherwise there" if addition.otherwise else ""
    found = counted(addition.count, "trial")
    err.print(f"added: {found} of this suite, measured elsewhere: {elsewhere}{left}", soft_wrap=True)


def write_report(folder: Path) -> Path:
    """Write the tables, figures and the report of a bench anew, finished or not; return the report's path."""
    store = BenchStore(folder)
    with store.held():
        results = collect(store)
        write_tables(results, store.root)
        return write_outputs(results, store.root)[-1]


def describe(path: Path, overrides: Sequence[str], folder: Path | None, wanted: Wanted, *, as_json: bool) -> None:
    """Check a suite as a bench would, and list its trials."""
    suite = read_suite(path, overrides)
    chosen = _chosen(suite, wanted)
    check(chosen)
    endings = _endings(folder or Path("benches") / suite.config.name, chosen)
    if not as_json:
        out.print(plan_table(suite, chosen, endings))
        return
    rows = [
        {
            "trial": trial.identity,
            "schedule": trial.schedule_name,
            "strategy": trial.strategy,
            "order": trial.order,
            "seed": trial.seed,
            "status": endings[trial.identity].status,
            "settings": trial.schedule.resolved(),
        }
        for trial in chosen
    ]
    out.print_json(json.dumps({"suite": suite.config.name, "trials": rows}))


def _chosen(suite: Suite, wanted: Wanted) -> list[Trial]:
    """Return the trials that are wanted. Raises `ConfigError` for a label or seed that the suite does not have."""
    for option, asked, there in (
        ("--only", wanted.only, suite.config.labels),
        ("--seeds", wanted.seeds, suite.config.seed_list),
    ):
        if strange := [value for value in asked if value not in there]:
            raise ConfigError(f"{option} {strange[0]}: the suite has {', '.join(map(str, there))}")
    return [
        trial
        for trial in suite.trials
        if trial.strategy in (wanted.only or suite.config.labels)
        and trial.seed in (wanted.seeds or suite.config.seed_list)
    ]


def _endings(root: Path, trials: Sequence[Trial]) -> dict[str, Ending]:
    """Return how each trial ended before, by identity."""
    store = BenchStore(root) if (root / "plan.json").exists() else None
    return {trial.identity: store.ending(trial.identity) if store else Ending(status="missing") for trial in trials}


def check(trials: Sequence[Trial]) -> None:
    """Check every schedule, strategy and order before any trial runs: a seed changes nothing of what is asked for.

    Raises `ConfigError` or `SourceError`.
    """
    first = {(trial.schedule_name, trial.strategy, trial.order): trial for trial in reversed(trials)}
    with err.status(f"checking {len(trials)} trials"):
        for trial in reversed(first.values()):
            try:
                trial.schedule.check()
            except UserError as error:
                raise type(error)(f"{trial.place}: {error}") from error


def _run(store: BenchStore, suite: Suite, chosen: Sequence[Trial], wanted: Wanted) -> None:
    """Run the chosen trials that have no result yet, and record how each ends."""
    from simulator.bench.farm import Job, farm

    store.write_machine()
    endings = {trial.identity: store.ending(trial.identity) for trial in chosen}
    to_run = {trial.identity: trial for trial in chosen if not endings[trial.identity].measured}
    board = Board(suite)
    finished = [trial for trial in chosen if endings[trial.identity].status == "done"]
    for trial in finished:
        tidy(store.trial_root(trial.identity), suite.config.keep)
    board.expect([*finished, *to_run.values()], {trial.identity: _dice(store, trial) for trial in finished})
    if not to_run:
        return
    jobs = [Job.of(trial, store.trial_root(trial.identity)) for trial in to_run.values()]
    events = farm(jobs, address=wanted.address, parallel=wanted.parallel, seconds=suite.config.trial_seconds)
    with shown(board), closing(events):
        for event in events:
            if event is None:
                continue
            trial = to_run[event.identity]
            if event.ending is None:
                board.begin(trial)
                continue
            store.end(trial, event.ending)
            if event.ending.status == "done":
                tidy(store.trial_root(trial.identity), suite.config.keep)
            board.end(trial, event.ending, _dice(store, trial) if event.ending.status == "done" else None)


def _track(store: BenchStore, trials: Sequence[Trial], tracker: Tracker) -> None:
    for trial in trials:
        if store.ending(trial.identity).status == "done":
            root = store.trial_root(trial.identity)
            tracker.add(tracked_of(trial, read_trial(root, trial.schedule.timeline.arrivals)))


def _dice(store: BenchStore, trial: Trial) -> ScoreMatrix:
    return read_dice(store.trial_root(trial.identity), trial.schedule.timeline.arrivals)


def _show(store: BenchStore, results: Results, off: Sequence[Deviation], report: Path, *, as_json: bool) -> None:
    rows = results.trials.to_dict("records")
    if as_json:
        told = {
            "bench": str(store.root),
            "report": str(report),
            "complete": all(row["status"] == "done" for row in rows),
        }
        trials = [{key: None if pd.isna(value) else value for key, value in row.items()} for row in rows]
        out.print_json(json.dumps(told | {"trials": trials, "deviations": [asdict(deviation) for deviation in off]}))
        return
    out.print(result_table(results))
    for row in rows:
        if row["status"] == "failed":
            place = f"{row['schedule']}, {row['strategy']}, {row['order']}, seed {row['seed']}"
            out.print(f"failed: {place}: {row['reason']}", markup=False, soft_wrap=True)
    for deviation in off:
        out.print(f"off: {deviation}", markup=False, soft_wrap=True)
    out.print(f"results: {store.root / 'results.csv'}", soft_wrap=True)
    out.print(f"report: {report}", soft_wrap=True)
