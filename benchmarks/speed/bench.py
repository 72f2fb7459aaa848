"""Measures what a bench costs: the throughput of two trials at a time, the harness time a trial, and memory.

    python benchmarks/speed/bench.py throughput    # two workers against one: 1.7 or more on two quiet cores
    python benchmarks/speed/bench.py harness       # 500 trivial trials: seconds of harness a trial, memory over time

On a machine that does other work too, trust the ratio and the CPU seconds, not the wall clock.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from simulator.bench.collecting import collect, read_trial, write_tables
from simulator.bench.farm import Job, farm
from simulator.bench.store import BenchStore
from simulator.bench.trials import Suite, read_suite

TRIVIAL = ("budget.iterations=1", "budget.batch=1", "cases={train: 1, held_out: 1}")
PAGE = os.sysconf("SC_PAGE_SIZE")


def suite_of(folder: Path, seeds: int) -> Path:
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump({"schedules": ["smoke"], "strategies": ["finetune"], "seeds": seeds}))
    return path


def resident(pid: int) -> float:
    """Return a process's resident memory in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6


def workers() -> list[int]:
    """Return this user's Ray workers that run trials."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"ray::_Worker" in path.read_bytes() and path.stat().st_uid == os.getuid():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def run(suite: Suite, store: BenchStore, parallel: int, every: int) -> tuple[float, list[dict[str, float]]]:
    """Run a suite's trials; return the seconds from the first one's start to the last one's end, and memory."""
    jobs = [
        Job(
            identity=trial.identity,
            root=store.trial_root(trial.identity).resolve(),
            schedule=trial.schedule.as_json(),
        )
        for trial in suite.trials
    ]
    trials = {trial.identity: trial for trial in suite.trials}
    began, ended, memory = 0.0, 0, []
    for event in farm(jobs, address=None, parallel=parallel):
        if event is None:
            continue
        if event.ending is None:
            began = began or time.perf_counter()
            continue
        assert event.ending.status == "done", event.ending
        trial = trials[event.identity]
        store.end(trial, event.ending)
        read_trial(store.trial_root(trial.identity), trial.schedule.timeline.arrivals)
        ended += 1
        if ended % every == 0:
            memory.append(
                {"trials": ended, "bench MB": resident(os.getpid()), "worker MB": max(map(resident, workers()))}
            )
    return time.perf_counter() - began, memory


def throughput() -> dict[str, object]:
    """Run eight trials of some seconds with one worker and with two, twice in turn."""
    walls: dict[int, list[float]] = {1: [], 2: []}
    for parallel in (1, 2, 1, 2):
        with TemporaryDirectory() as folder:
            suite = read_suite(suite_of(Path(folder), 8), ["budget.iterations=150"])
            walls[parallel].append(run(suite, BenchStore.open(Path(folder) / "out", suite), parallel, 100)[0])
    return {"seconds": walls, "two workers against one": min(walls[1]) / min(walls[2])}


def harness(count: int = 500) -> dict[str, object]:
    """Run many trivial trials on two workers. Harness time is all wall time of both that no turn of a trial took."""
    with TemporaryDirectory() as folder:
        clocks = {"start": time.perf_counter()}
        suite = read_suite(suite_of(Path(folder), count), TRIVIAL)
        clocks["read"] = time.perf_counter()
        for trial in suite.trials:
            trial.schedule.check()
        clocks["check"] = time.perf_counter()
        store = BenchStore.open(Path(folder) / "out", suite)
        store.write_machine()
        cpu = time.process_time()
        wall, memory = run(suite, store, 2, max(1, count // 10))
        cpu = time.process_time() - cpu
        collecting = time.perf_counter()
        results = collect(store)
        write_tables(results, store.root)
        collecting = time.perf_counter() - collecting
    inside = float(results.costs["wall_seconds"].sum())
    return {
        "trials": count,
        "seconds a trial": {
            "reading the suite": (clocks["read"] - clocks["start"]) / count,
            "checking": (clocks["check"] - clocks["read"]) / count,
            "in the worker, beside the turns": (2 * wall - inside) / count,
            "in the bench's process (CPU)": cpu / count,
            "collecting": collecting / count,
            "the turns themselves": inside / count,
            "wall": wall / count,
        },
        "memory": memory,
    }


if __name__ == "__main__":
    measured = {"throughput": throughput, "harness": harness}
    if sys.argv[1:] not in [[name] for name in measured]:
        sys.exit(__doc__)
    print(json.dumps(measured[sys.argv[1]](), indent=1))
