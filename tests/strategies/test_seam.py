"""Strategies are found by file, by dotted name and by entry point; each one keeps to the seam."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from simulator.schedule import Schedule, read_schedule
from sites.errors import ConfigError
from sites.seeds import seeded
from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import manifest_of, pack, unpack
from strategies import STRATEGY_FILES, known, load

Tiny = Callable[..., Path]


@pytest.fixture
def schedule(name: str, tiny: Tiny, small: Callable[[str], dict[str, object]]) -> Schedule:
    return read_schedule(tiny(strategy=small(name), policy="reference-only"))


def arrival_of(schedule: Schedule, site: str = "A", step: int = 1) -> Arrival:
    return Arrival(site=site, step=step, round=1, cases=schedule.source.train(site, 0, 3), seed=5)


def test_every_file_is_found() -> None:
    assert set(STRATEGY_FILES) == {path.stem for path in Path("strategies").glob("*.py")} - {"__init__", "setting"}
    assert set(STRATEGY_FILES) <= set(known())


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'finetune'"):
        load("fintune")


def test_a_dotted_name_outside_this_repository_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("outside.mine")
    module.STRATEGY = load("finetune")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "outside", ModuleType("outside"))
    monkeypatch.setitem(sys.modules, "outside.mine", module)
    assert load("outside.mine") is load("finetune")


def test_a_dotted_name_that_leads_nowhere_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"'outside\.nowhere' can't be loaded"):
        load("outside.nowhere")
    monkeypatch.setitem(sys.modules, "outside", ModuleType("outside"))
    monkeypatch.setitem(sys.modules, "outside.bare", ModuleType("outside.bare"))
    with pytest.raises(ConfigError, match=r"'outside\.bare' can't be loaded"):
        load("outside.bare")


@pytest.mark.parametrize("name", STRATEGY_FILES)
class TestEveryStrategy:
    """No edit is needed here for a new strategy."""

    def test_learns_what_its_blanks_declare(self, schedule: Schedule, tmp_path: Path) -> None:
        strategy, config, setting = schedule.strategy, schedule.strategy_config, schedule.setting
        with seeded(1):
            server = strategy.server(config, setting)
            down = server.broadcast("A", 1)
            manifest = manifest_of(strategy.blank_broadcast(config, setting))
            assert manifest_of(down) == manifest
            arrived = unpack(strategy.blank_broadcast(config, setting), manifest, pack(down, manifest))
            up = strategy.learn(config, setting, arrived, arrival_of(schedule), Vault(tmp_path, 1))
        assert manifest_of(up) == manifest_of(strategy.blank_upload(config, setting, True))

    def test_keeps_at_a_site_what_it_declares(self, schedule: Schedule, tmp_path: Path) -> None:
        strategy, config, setting = schedule.strategy, schedule.strategy_config, schedule.setting
        vault = Vault(tmp_path, 1)
        with seeded(1):
            down = strategy.server(config, setting).broadcast("A", 1)
            strategy.learn(config, setting, down, arrival_of(schedule), vault)
        forms = {
            group: {name: (value.dtype, value.shape) for name, value in tensors.items()}
            for group, tensors in strategy.blank_vault(config, setting).items()
        }
        assert set(vault.keys()) == set(forms)
        for group, form in forms.items():
            kept = vault.get(group) or {}
            assert {name: (value.dtype, value.shape) for name, value in kept.items()} == form

    def test_builds_its_blanks_without_memory_for_data(self, schedule: Schedule) -> None:
        blank = schedule.strategy.blank_upload(schedule.strategy_config, schedule.setting, True)
        for value in vars(blank).values():
            tensors = value.values() if isinstance(value, dict) else [value]
            assert all(tensor.device.type == "meta" for tensor in tensors)

    def test_learns_the_same_from_the_same(self, schedule: Schedule, tmp_path: Path) -> None:
        packed = []
        for turn in (1, 2):
            with seeded(1):
                server = schedule.strategy.server(schedule.strategy_config, schedule.setting)
                arguments = (schedule.strategy_config, schedule.setting, server.broadcast("A", 1), arrival_of(schedule))
                up = schedule.strategy.learn(*arguments, Vault(tmp_path / str(turn), 1))
            packed.append(pack(up, manifest_of(up)))
        assert packed[0] == packed[1]

    def test_its_server_comes_back_from_its_state(self, schedule: Schedule, tmp_path: Path) -> None:
        strategy, config, setting = schedule.strategy, schedule.strategy_config, schedule.setting
        with seeded(1):
            server, again = strategy.server(config, setting), strategy.server(config, setting)
            up = strategy.learn(config, setting, server.broadcast("A", 1), arrival_of(schedule), Vault(tmp_path, 1))
            server.absorb({"A": up}, 1)
        again.load_state_dict({key: tensor.clone() for key, tensor in server.state_dict().items()})
        assert server.state_dict().keys() == again.state_dict().keys()
        images = schedule.source.held_out("A", 1)[0].images
        with torch.no_grad():
            assert torch.equal(server.predictor("A").eval()(images), again.predictor("A").eval()(images))

    def test_what_it_learns_reaches_the_predictor(self, schedule: Schedule, tmp_path: Path) -> None:
        strategy, config, setting = schedule.strategy, schedule.strategy_config, schedule.setting
        with seeded(1):
            server = strategy.server(config, setting)
            before = {key: tensor.clone() for key, tensor in server.predictor("A").state_dict().items()}
            up = strategy.learn(config, setting, server.broadcast("A", 1), arrival_of(schedule), Vault(tmp_path, 1))
            server.absorb({"A": up}, 1)
        assert any(not torch.equal(tensor, before[key]) for key, tensor in server.predictor("A").state_dict().items())
