"""The run folder is made once, overwrites nothing, and its scores follow its checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from simulator.schedule import read_schedule
from simulator.store import Store
from sites.errors import UserError

Tiny = Callable[..., Path]


@pytest.fixture
def store(tiny: Tiny, tmp_path: Path) -> Store:
    return Store.create(tmp_path / "run", read_schedule(tiny()))


def test_a_folder_that_holds_anything_is_left_alone(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="choose another --out"):
        Store.create(tmp_path / "mine", read_schedule(tiny()))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run folder"):
        Store(tmp_path)


def test_each_site_has_its_own_policy(store: Store) -> None:
    assert store.home("A").policy().round_counts_to == 5


def test_the_resolved_settings_are_a_schedule_that_runs_again(store: Store, tiny: Tiny) -> None:
    assert store.schedule().resolved() == read_schedule(tiny()).resolved()


def test_scores_after_the_newest_checkpoint_are_cut_on_restoring(store: Store) -> None:
    server = store.schedule().strategy.server(store.schedule().strategy_config, store.schedule().setting)
    row = {"site": "A", "case": 0, "structure": "prostate", "dice": 0.5, "hd95": 1.0, "asd": 0.5}
    store.add_scores([{"step": 0, **row}])
    store.checkpoint(server.state_dict(), 4)
    store.add_scores([{"step": 1, **row}])
    assert len(store.scores()) == 2
    assert store.restore(server) == 4
    assert store.scores().step.tolist() == [0]


def test_a_server_comes_back_as_it_was(store: Store) -> None:
    schedule = store.schedule()
    server = schedule.strategy.server(schedule.strategy_config, schedule.setting)
    state = {
        key: torch.rand_like(value) if value.is_floating_point() else value
        for key, value in server.state_dict().items()
    }
    store.checkpoint(state, 1)
    store.restore(server)
    assert all(torch.equal(value, state[key]) for key, value in server.state_dict().items())
