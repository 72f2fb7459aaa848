"""Every strategy on every phantom task and either grid, and stopped and started again. No edit for a new strategy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from simulator.flower.launch import launch, on_ray
from simulator.flower.server_app import Silence, execute
from simulator.schedule import read_schedule
from simulator.store import Store
from sites.ledger import first_broken, read_rows
from sites.sources.phantom import TASKS
from strategies import known

Run = Callable[..., Path]
Small = Callable[[str], dict[str, object]]

SAME = ("scores.jsonl", "checkpoint.safetensors", "predictors/step-002.safetensors")

# What Ray and its workers leave open or say at their end is theirs.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    with on_ray(None):
        yield


@pytest.fixture(params=["local", pytest.param("actors", marks=pytest.mark.exhaustive)])
def grid(request: pytest.FixtureRequest) -> str:
    if request.param == "actors":
        request.getfixturevalue("ray")
    return str(request.param)


class Stopped(Exception):
    """Somebody stopped a run."""


class Stopper(Silence):
    """Stops a run when its second step begins to learn."""

    def doing(self, what: str) -> None:
        if "step 2" in what and "learning" in what:
            raise Stopped


def differing(one: Path, other: Path) -> list[str]:
    return [name for name in SAME if (one / name).read_bytes() != (other / name).read_bytes()]


def on_actors(like: Path) -> Store:
    """Do a run once more, on an actor."""
    from simulator.flower.grids.actors import SiteActorGrid

    store = Store.create(like.parent / "actors", read_schedule(like / "config.yaml"))
    grid = SiteActorGrid([store.home(site) for site in store.schedule().timeline.sites], actors=1, reply_seconds=300)
    execute(grid, store, Silence())
    grid.close()
    return store


def assert_went_through(folder: Path) -> None:
    scores = Store(folder).scores()
    assert Store(folder).done
    assert set(scores["site"]) == set("ABE")
    assert set(scores["step"]) == {0, 1, 2}
    assert scores["dice"].between(0, 1).all()


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", known())
def test_a_run_goes_through(name: str, task: str, grid: str, run_tiny: Run, small: Small) -> None:
    folder = run_tiny(task=task, strategy=small(name), policy="reference-only")
    assert_went_through(folder)
    if grid == "actors":
        store = on_actors(folder)
        assert store.done
        assert differing(store.root, folder) == []
        assert all(first_broken(read_rows(store.home(site).root / "ledger.jsonl")) is None for site in "ABE")


@pytest.mark.parametrize("name", known())
def test_a_run_goes_through_and_stopped_and_started_again_ends_with_the_same_bits(
    name: str, run_tiny: Run, small: Small, tmp_path: Path
) -> None:
    whole = run_tiny("whole", strategy=small(name), policy="reference-only")
    assert_went_through(whole)
    store = Store.create(tmp_path / "stopped", read_schedule(whole / "config.yaml"))
    with pytest.raises(Stopped):
        launch(store, "local", Stopper())
    launch(store, "local", Silence())
    assert differing(store.root, whole) == []
