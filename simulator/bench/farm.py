"""Runs trials at the same time on Ray: a process for each worker, which takes one trial after another."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from simulator.bench.store import Ending
from simulator.flower.launch import on_ray

DEATHS_BORNE = 1
TICK_SECONDS = 0.25


@dataclass(frozen=True, kw_only=True)
class Job:
    """A trial to run: its identity, its folder (absolute, on a disk that all workers share), its schedule as JSON."""

    identity: str
    root: Path
    schedule: str


@dataclass(frozen=True, kw_only=True)
class Event:
    """A job has begun, or (with its ending) has ended."""

    identity: str
    ending: Ending | None = None


class _Worker:
    """A process that runs trials, one at a time. It is used again, since its imports take longer than a small trial."""

    def __init__(self) -> None:
        import torch

        from simulator.bench.work import run_trial

        torch.set_num_threads(1)
        self._run_trial = run_trial

    def run(self, job: Job) -> Ending:
        return self._run_trial(job.root, job.schedule)


Worker: Any = ray.remote(num_cpus=1, max_restarts=0)(_Worker)


def farm(jobs: Sequence[Job], *, address: str | None, parallel: int | None) -> Iterator[Event | None]:
    """Run every job and yield what happens, and None four times a second for whoever shows the time.

    parallel: jobs at a time, at most; Ray's number of cores unless it is given
    A worker that dies loses its trial, which is run again once, from its checkpoint. Closing the generator ends all
    workers; what they had done is in the folders.
    """
    with on_ray(address, parallel):
        cores = int(ray.cluster_resources().get("CPU", 1))
        workers: list[Any] = [Worker.remote() for _ in range(min(parallel or cores, cores, len(jobs)))]
        waiting, idle, deaths = deque(jobs), list(range(len(workers))), Counter[str]()
        running: dict[Any, tuple[int, Job]] = {}
        try:
            while waiting or running:
                while waiting and idle:
                    slot, job = idle.pop(), waiting.popleft()
                    running[workers[slot].run.remote(job)] = (slot, job)
                    yield Event(identity=job.identity)
                ready, _ = ray.wait(list(running), timeout=TICK_SECONDS)
                for ref in ready:
                    slot, job = running.pop(ref)
                    idle.append(slot)
                    ending = _ending(ref)
                    if ending is None:
                        workers[slot] = Worker.remote()
                        deaths[job.identity] += 1
                        if deaths[job.identity] <= DEATHS_BORNE:
                            waiting.appendleft(job)
                            continue
                        ending = Ending(status="failed", reason="its worker process died, twice")
                    yield Event(identity=job.identity, ending=ending)
                yield None
        finally:
            for worker in workers:
                ray.kill(worker)


def _ending(ref: Any) -> Ending | None:
    """Return how a job ended, or None where its worker died under it."""
    try:
        ending: Ending = ray.get(ref)
    except RayActorError:
        return None
    except RayError as error:
        return Ending(status="failed", reason=f"its worker failed: {type(error).__name__}")
    return ending
