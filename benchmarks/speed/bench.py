"""Measures what a bench costs: the throughput of two trials at a time, the harness time a trial, and memory.

    python benchmarks/speed/bench.py throughput    # two workers against one: 1.7 or more on two quiet cores
    python benchmarks/speed/bench.py harness       # 500 trivial trials: seconds of harness a trial, memory over time

CPU seconds stand beside the wall clock: where workers got much less than a core each, the machine was not quiet, and
the wall clock says nothing.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from simulator.bench.collecting import collect, read_dice, write_tables
from simulator.bench.farm import Job, farm
from simulator.bench.keeping import tidy
from simulator.bench.live import Board
from simulator.bench.outputs import write_outputs
from simulator.bench.running import check
from simulator.bench.store import BenchStore
from simulator.bench.trials import Suite, read_suite
from simulator.store import Store

TRIVIAL = ("budget.iterations=1", "budget.batch=1", "cases={train: 1, held_out: 1}")
PAGE, TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")


def suite_of(folder: Path, seeds: int) -> Path:
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump({"schedules": ["smoke"], "strategies": ["finetune"], "seeds": seeds}))
    return path


def stat_of(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on: state, parent, ..."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def workers() -> list[int]:
    """Return the Ray workers that run trials for this process, and for no other bench of the machine."""
    parents, named = {}, []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(path.name)] = int(stat_of(int(path.name))[1])
            if b"ray::_Worker" in (path / "cmdline").read_bytes():
                named.append(int(path.name))
    return [pid for pid in named if os.getpid() in ancestors(pid, parents)]


def ancestors(pid: int, parents: dict[int, int]) -> Iterator[int]:
    while (pid := parents.get(pid, 0)) > 0:
        yield pid


def cpu_of(pid: int) -> float:
    """Return the CPU seconds that a process has taken, in user code and in the kernel."""
    return sum(map(int, stat_of(pid)[11:13])) / TICKS


def resident(pid: int) -> float:
    """Return a process's resident memory in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6


@dataclass(frozen=True, kw_only=True)
class Sample:
    """How a bench stood when so many of its trials had ended.

    wall, workers, bench, turns: seconds by the clock, and of CPU in all workers, in this process, and in the turns of
    the trials alone; bench_mb, worker_mb: resident memory of this process, and of the largest worker
    """

    trials: int
    wall: float
    workers: float
    bench: float
    turns: float
    bench_mb: float
    worker_mb: float


def sample(trials: int, turns: float) -> Sample:
    found = workers()
    return Sample(
        trials=trials,
        wall=time.perf_counter(),
        workers=sum(map(cpu_of, found)),
        bench=time.process_time(),
        turns=turns,
        bench_mb=resident(os.getpid()),
        worker_mb=max(map(resident, found)),
    )


def run(suite: Suite, store: BenchStore, parallel: int, every: int) -> list[Sample]:
    """Run a suite's trials; look at all when the first begins, and after each `every` of them."""
    jobs = [Job.of(trial, store.trial_root(trial.identity)) for trial in suite.trials]
    trials = {trial.identity: trial for trial in suite.trials}
    board = Board(suite)
    board.expect(suite.trials, {})
    found: list[Sample] = []
    ended, turns = 0, 0.0
    for event in farm(jobs, address=None, parallel=parallel):
        if event is None:
            continue
        trial = trials[event.identity]
        if event.ending is None:
            found = found or [sample(0, 0.0)]
            board.begin(trial)
            continue
        assert event.ending.status == "done", event.ending
        root = store.trial_root(trial.identity)
        store.end(trial, event.ending)
        tidy(root, suite.config.keep)
        board.end(trial, event.ending, read_dice(root, trial.schedule.timeline.arrivals))
        ended, turns = ended + 1, turns + sum(row["cpu_seconds"] for row in Store(root).times())
        if ended % every == 0:
            found.append(sample(ended, turns))
    return found


def throughput(count: int = 6) -> dict[str, object]:
    """Run trials of some seconds with one worker and with two, twice in turn: about a minute on two quiet cores."""
    runs: list[dict[str, float]] = []
    for parallel in (1, 2, 1, 2):
        with TemporaryDirectory() as folder:
            suite = read_suite(suite_of(Path(folder), count), ["budget.iterations=150"])
            first, last = run(suite, BenchStore.open(Path(folder) / "out", suite), parallel, count)
        wall, cpu = last.wall - first.wall, last.workers - first.workers
        runs.append({"workers": parallel, "wall": wall, "CPU": cpu, "cores a worker got": cpu / wall / parallel})
    one, two = (min(row["wall"] for row in runs if row["workers"] == parallel) for parallel in (1, 2))
    return {"seconds": runs, "two workers against one": one / two}


def harness(count: int = 500) -> dict[str, object]:
    """Run many trivial trials on two workers. Harness time is all that no turn of a trial took.

    The workers are measured from a tenth of the trials on, for before it one may still be loading.
    """
    with TemporaryDirectory() as folder:
        clocks = [time.process_time()]
        suite = read_suite(suite_of(Path(folder), count), TRIVIAL)
        clocks.append(time.process_time())
        check(suite.trials)
        clocks.append(time.process_time())
        store = BenchStore.open(Path(folder) / "out", suite)
        store.write_machine()
        samples = run(suite, store, 2, count // 10)
        clocks.append(time.process_time())
        results = collect(store)
        write_tables(results, store.root)
        clocks.append(time.process_time())
        write_outputs(results, store.root)
        clocks.append(time.process_time())
    first, last = samples[1], samples[-1]
    trials, wall = last.trials - first.trials, last.wall - first.wall
    reading, checking, _, collecting, drawing = (after - before for before, after in pairwise(clocks))
    spent = {
        "reading the suite": reading / count,
        "checking": checking / count,
        "in the workers, beside the turns": (last.workers - first.workers - (last.turns - first.turns)) / trials,
        "in the bench's process": (last.bench - first.bench) / trials,
        "collecting": collecting / count,
        "drawing the figures and the report": drawing / count,
    }
    return {
        "trials": count,
        "CPU seconds of harness, a trial": {**spent, "in all": sum(spent.values())},
        "CPU seconds of the turns, a trial": (last.turns - first.turns) / trials,
        "seconds by the clock, a trial": wall / trials,
        "cores a worker got": (last.workers - first.workers) / wall / 2,
        "memory, MB": [
            {"trials": row.trials, "bench": row.bench_mb, "largest worker": row.worker_mb} for row in samples[1:]
        ],
    }


if __name__ == "__main__":
    measured = {"throughput": throughput, "harness": harness}
    if sys.argv[1:] not in [[name] for name in measured]:
        sys.exit(__doc__)
    print(json.dumps(measured[sys.argv[1]](), indent=1))
