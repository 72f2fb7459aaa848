"""Real Ray actors: the same bits as in one process, through the death of an actor and the lateness of a site."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from simulator.flower.launch import launch, on_ray
from simulator.flower.server_app import Silence, execute
from simulator.loop import SitesFailed
from simulator.schedule import read_schedule
from simulator.store import Store
from sites.ledger import first_broken, read_rows

KEYS: dict[str, Any] = {"strategy": "fedavg", "stay": "forever", "budget": {"iterations": 2, "rounds": 2, "batch": 3}}

# What Ray and its workers leave open or say at their end is theirs.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    with on_ray(None):
        yield


def grid_of(store: Store, actors: int) -> Any:
    from simulator.flower.grids.actors import SiteActorGrid

    homes = [store.home(site) for site in store.schedule().timeline.sites]
    return SiteActorGrid(homes, actors=actors, reply_seconds=300)


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_actors_give_the_bits_of_one_process_even_when_one_is_killed(
    run_tiny: Callable[..., Path], tmp_path: Path
) -> None:
    import ray

    whole = run_tiny("whole", **KEYS)
    store = Store.create(tmp_path / "actors", read_schedule(whole / "config.yaml"))
    grid = grid_of(store, actors=2)

    class Assassin(Silence):
        """Kills the process of an actor when the second step begins to learn."""

        pid: int | None = ray.get(grid.actors[0].process_id.remote())

        def doing(self, what: str) -> None:
            if self.pid and "step 2" in what and "learning" in what:
                os.kill(self.pid, signal.SIGKILL)
                self.pid = None

    assassin = Assassin()
    execute(grid, store, assassin)
    grid.close()
    assert assassin.pid is None
    for name in ("scores.jsonl", "checkpoint.safetensors"):
        assert (store.root / name).read_bytes() == (whole / name).read_bytes()
    for site in "ABE":
        assert first_broken(read_rows(store.home(site).root / "ledger.jsonl")) is None


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_a_site_that_takes_too_long_is_named_and_the_run_stops(tiny: Callable[..., Path], tmp_path: Path) -> None:
    slow = {"iterations": 10**6, "batch": 3}
    store = Store.create(tmp_path / "late", read_schedule(tiny(arrivals=["A"], unseen=None, budget=slow)))
    grid = grid_of(store, actors=1)

    class Impatient(Silence):
        """Gives a site three seconds to learn; what comes before takes the time that it takes."""

        def doing(self, what: str) -> None:
            if "learning" in what:
                grid.reply_seconds = 3

    with pytest.raises(SitesFailed, match="site 'A' failed to learn at step 1: NO_REPLY"):
        execute(grid, store, Impatient())
    grid.close()
    assert not store.done


@pytest.mark.slow
def test_launching_on_actors_starts_ray_and_ends_it(run_tiny: Callable[..., Path], tmp_path: Path) -> None:
    import ray

    ray.shutdown()
    whole = run_tiny("whole")
    store = Store.create(tmp_path / "launched", read_schedule(whole / "config.yaml"))
    launch(store, "actors", Silence())
    assert not ray.is_initialized()
    assert (store.root / "scores.jsonl").read_bytes() == (whole / "scores.jsonl").read_bytes()
