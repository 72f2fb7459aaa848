"""Runs trials at the same time on Ray: a process for each worker, which takes one trial after another."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from simulator.bench.store import Ending
from simulator.bench.trials import Trial
from simulator.flower.launch import on_ray
from sites.errors import WardroundError

DEATHS_BORNE = 1
TICK_SECONDS = 0.25
TOO_LONG = "took longer than the suite's trial_seconds, {:g} s; the same command goes on with it where it stopped"
HUNG = "no turn of it ended in {:g} s, all that its schedule's limits.reply_seconds allow; the same command tries again"
DIED = Ending(status="failed", reason="its worker process died, twice")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A trial to run: its identity, its folder (absolute, on a disk that all workers share), its schedule as JSON.

    patience: seconds within which one of its turns should end; one that goes on for longer hangs
    """

    identity: str
    root: Path
    schedule: str
    patience: float

    @classmethod
    def of(cls, trial: Trial, root: Path) -> Job:
        """Return the job of a trial. A turn that goes on beyond its schedule's bound hangs the local grid for good."""
        return cls(
            identity=trial.identity,
            root=root.resolve(),
            schedule=trial.schedule.as_json(),
            patience=trial.schedule.turn_seconds,
        )


@dataclass(kw_only=True)
class _Going:
    """A job that a worker is at: since when, and when it last got on (s, monotonic); `turns` tells one by its size."""

    job: Job
    slot: int
    since: float
    moved: float
    turns: int = 0

    def overdue(self, seconds: float | None) -> str:
        """Say why the job should be ended now; "" where it may go on."""
        now, table = time.monotonic(), self.job.root / "times.jsonl"
        turns = table.stat().st_size if table.exists() else 0
        if turns != self.turns:
            self.turns, self.moved = turns, now
        if seconds is not None and now - self.since > seconds:
            return TOO_LONG.format(seconds)
        return HUNG.format(self.job.patience) if now - self.moved > self.job.patience else ""


@dataclass(frozen=True, kw_only=True)
class Event:
    """A job has begun, or (with its ending) has ended."""

    identity: str
    ending: Ending | None = None


class _Worker:
    """A process that runs trials, one at a time. It is used again, since its imports take longer than a small trial."""

    def __init__(self) -> None:
        import torch

        from simulator.bench.work import run_trial, warm

        torch.set_num_threads(1)
        warm()
        self._run_trial = run_trial

    def ready(self) -> None:
        """Answer, which a worker does once it has loaded all."""

    def run(self, job: Job) -> Ending:
        return self._run_trial(job.root, job.schedule)


Worker: Any = ray.remote(num_cpus=1, max_restarts=0)(_Worker)


def farm(
    jobs: Sequence[Job], *, address: str | None, parallel: int | None, seconds: float | None = None
) -> Generator[Event | None, None, None]:
    """Run every job and yield what happens, and None several times a second for whoever shows the time.

    parallel: jobs at a time, at most; Ray's number of cores unless it is given
    seconds: how long a job may take. One that takes longer, or hangs, has failed, and its worker is ended
    A worker that dies loses its trial, which is run again once, from its checkpoint. Closing the generator ends all
    workers; what they had done is in the folders. Raises `WardroundError` where workers don't even start.
    """
    with on_ray(address, parallel):
        cores = int(ray.cluster_resources().get("CPU", 1))
        crew = _Crew(min(parallel or cores, cores, len(jobs)), seconds)
        waiting, deaths = deque(jobs), Counter[str]()
        try:
            while waiting or crew.busy:
                while waiting and crew.idle:
                    job = waiting.popleft()
                    crew.give(job)
                    yield Event(identity=job.identity)
                for job, ending in crew.ended():
                    if ending is None:
                        deaths[job.identity] += 1
                        if deaths[job.identity] <= DEATHS_BORNE:
                            waiting.appendleft(job)
                            continue
                    yield Event(identity=job.identity, ending=ending or DIED)
                yield None
        finally:
            crew.close()


class _Crew:
    """The workers, and what each is at."""

    def __init__(self, count: int, seconds: float | None) -> None:
        self.idle: list[int] = []
        self._seconds = seconds
        self._workers: list[Any] = [None] * count
        self._running: dict[Any, _Going] = {}
        self._loading: dict[Any, int] = {}
        self._stillborn = 0
        for slot in range(count):
            self._start(slot)

    @property
    def busy(self) -> bool:
        return bool(self._running)

    def give(self, job: Job) -> None:
        """Let an idle worker begin a job."""
        slot, now = self.idle.pop(), time.monotonic()
        self._running[self._workers[slot].run.remote(job)] = _Going(job=job, slot=slot, since=now, moved=now)

    def ended(self) -> Iterator[tuple[Job, Ending | None]]:
        """Wait a moment; yield each job that ended, with None where its worker died under it."""
        ready, _ = ray.wait([*self._running, *self._loading], timeout=TICK_SECONDS)
        for ref in ready:
            if ref in self._loading:
                self._loaded(ref)
                continue
            going = self._running.pop(ref)
            try:
                yield going.job, ray.get(ref)
            except RayActorError:
                self._start(going.slot)
                yield going.job, None
            except RayError as error:
                yield going.job, Ending(status="failed", reason=f"its worker failed: {type(error).__name__}")
                self.idle.append(going.slot)
            else:
                self.idle.append(going.slot)
        yield from self._overdue()

    def _overdue(self) -> Iterator[tuple[Job, Ending]]:
        """End the workers that have been at one job for too long, whatever they are doing."""
        for ref, going in list(self._running.items()):
            if reason := going.overdue(self._seconds):
                del self._running[ref]
                ray.kill(self._workers[going.slot])
                self._start(going.slot)
                yield going.job, Ending(status="failed", reason=reason)

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            ray.kill(worker)

    def _start(self, slot: int) -> None:
        self._workers[slot] = Worker.remote()
        self._loading[self._workers[slot].ready.remote()] = slot

    def _loaded(self, ref: Any) -> None:
        slot = self._loading.pop(ref)
        try:
            ray.get(ref)
        except RayError as error:
            self._stillborn += 1
            if self._stillborn > DEATHS_BORNE:
                raise WardroundError(f"worker processes can't start: {' '.join(str(error).split())}") from error
            self._start(slot)
        else:
            self.idle.append(slot)
