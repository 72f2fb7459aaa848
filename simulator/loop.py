"""The only loop: broadcast, exchange, absorb, score, checkpoint."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from simulator.contract import Purpose
from simulator.schedule import Schedule
from simulator.store import Store
from sites.errors import WardroundError
from sites.gate import Code
from sites.scoring import METRICS, Scores
from sites.seeds import seed_of, seeded
from sites.stream import Turn
from sites.wire import Payload, Weights
from strategies import Server


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A site that did not do what the schedule says."""

    site: str
    step: int
    purpose: Purpose
    code: Code

    def __str__(self) -> str:
        return f"site '{self.site}' failed to {self.purpose} at step {self.step}: {self.code.name}"


class SitesFailed(WardroundError):
    """One or more sites did not do what the schedule says; the run stops there, and can be resumed."""

    def __init__(self, failures: Sequence[Failure]) -> None:
        super().__init__("; ".join(map(str, failures)))
        self.failures = tuple(failures)


class Exchange(Protocol):
    """Carries messages to sites and back. Both raise `SitesFailed` after every site has answered or run out of time."""

    def learn(self, downs: Mapping[str, Payload], turn: Turn) -> Mapping[str, Payload]:
        """Send each site its broadcast and return their uploads, in the order of `downs`.

        Where their policies let them be read as a sum alone, one upload comes back that stands for all.
        """
        ...

    def score(self, segmenters: Mapping[str, Weights], turn: Turn) -> Mapping[str, Scores]:
        """Send each site the segmenter that stands for it, and return their scores in the order of `segmenters`."""
        ...


class Progress(Protocol):
    """Is told what the run is doing."""

    def begin(self, total: int, done: int) -> None:
        """A run begins that has `total` site turns, of which `done` were done before."""
        ...

    def doing(self, what: str) -> None: ...

    def advance(self, count: int = 1) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Event:
    """One turn of the run: sites that learn at the same time, or all sites being scored."""

    purpose: Purpose
    turn: Turn
    sites: tuple[str, ...]


def events_of(schedule: Schedule, server: Server[Any, Any]) -> Iterator[Event]:
    """Lay out every turn of a run in its total order; the untrained network is scored first, as step 0."""
    timeline, serial = schedule.timeline, 0
    yield Event(purpose=Purpose.SCORE, turn=Turn(step=0, round=0, serial=0), sites=timeline.sites)
    for step in timeline.steps:
        rounds = range(1, schedule.config.budget.rounds + 1)
        for round_, group in ((r, group) for r in rounds for group in server.rota(step.arriving, step.online)):
            serial += 1
            yield Event(purpose=Purpose.LEARN, turn=Turn(step=step.number, round=round_, serial=serial), sites=group)
        serial += 1
        turn = Turn(step=step.number, round=schedule.config.budget.rounds, serial=serial)
        yield Event(purpose=Purpose.SCORE, turn=turn, sites=timeline.sites)


def run(schedule: Schedule, exchange: Exchange, store: Store, progress: Progress) -> None:
    """Run a schedule from where its store stands to the end. Raises `SitesFailed`."""
    seed = schedule.config.seed
    server = schedule.new_server()
    newest = store.restore(server)
    events = list(events_of(schedule, server))
    done = [event for event in events if event.turn.serial <= newest]
    progress.begin(sum(len(event.sites) for event in events), sum(len(event.sites) for event in done))
    for event in events[len(done) :]:
        turn, began = event.turn, (time.process_time(), time.perf_counter())
        place = f"step {turn.step}/{len(schedule.timeline.steps)}"
        if event.purpose is Purpose.LEARN:
            progress.doing(f"{place}, round {turn.round}: {', '.join(event.sites)} learning")
            with seeded(seed_of(seed, "broadcast", turn.serial)):
                downs = {site: server.broadcast(site, turn.step) for site in event.sites}
            uploads = exchange.learn(downs, turn)
            progress.doing(f"{place}, round {turn.round}: server absorbing")
            with seeded(seed_of(seed, "absorb", turn.serial)):
                server.absorb(uploads, turn.step)
            store.add_diagnostics({"step": turn.step, **asdict(found)} for found in server.diagnostics())
        else:
            progress.doing(f"{place}: scoring every site")
            networks = {site: server.predictor(site) for site in event.sites}
            store.add_predictors(turn.step, networks)
            scores = exchange.score({site: network.state_dict() for site, network in networks.items()}, turn)
            store.add_scores(_rows(scores, turn.step, schedule.setting.shape.structures))
        store.add_times(_costs(event, *began))
        store.checkpoint(server.state_dict(), turn.serial)


def _costs(event: Event, cpu: float, wall: float) -> dict[str, Any]:
    """Return what an event cost since the clocks stood at `cpu` and `wall`, in seconds.

    The CPU seconds are those of this process: on the local grid the sites' work is in them, on others it is not.
    """
    return {
        "serial": event.turn.serial,
        "step": event.turn.step,
        "purpose": event.purpose,
        "sites": event.sites,
        "cpu_seconds": time.process_time() - cpu,
        "wall_seconds": time.perf_counter() - wall,
    }


def _rows(scores: Mapping[str, Scores], step: int, structures: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each site, case and structure."""
    return [
        {"step": step, "site": site, "case": case, "structure": structure}
        | dict(zip(METRICS, found.values[case, column].tolist(), strict=True))
        for site, found in scores.items()
        for case in range(int(found.held))
        for column, structure in enumerate(structures)
    ]
