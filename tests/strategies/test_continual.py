"""What holds for every continual-learning method: rounds, returning sites, resuming, and being switched off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from simulator.schedule import Schedule, read_schedule
from simulator.store import Store
from sites.seeds import seeded
from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Payload, manifest_of, pack

Tiny = Callable[..., Path]
Run = Callable[..., Path]
Small = Callable[[str], dict[str, object]]

# Each method with the settings that make it fine-tuning.
OFF: dict[str, dict[str, object]] = {
    "agem": {"exemplars": 0},
    "cgr": {"replays": 0},
    "dddr": {"replays": 0},
    "derpp": {"buffer": 0},
    "er": {"buffer": 0},
    "ewc": {"strength": 0, "statistics": "newest"},
    "gpm": {"threshold": 0, "statistics": "newest"},
    "lwf": {"strength": 0, "statistics": "newest"},
    "mas": {"strength": 0, "statistics": "newest"},
    "packnet": {"packing": False},
    "plop": {"strength": 0, "statistics": "newest"},
    "si": {"strength": 0, "statistics": "newest"},
    "target": {"images": 0},
    "vae_replay": {"replays": 0},
}

# GDumb never goes on from what it has; PGA draws its batches with replacement.
METHODS = (*OFF, "gdumb", "pga_exemplar")


def schedule_of(tiny: Tiny, strategy: dict[str, object], **keys: Any) -> Schedule:
    return read_schedule(tiny(strategy=strategy, policy="reference-only", **keys))


def learn(schedule: Schedule, server: Any, site: str, step: int, vault: Path) -> Payload:
    arrival = Arrival(site=site, step=step, round=1, cases=schedule.source.train(site, 0, 3), seed=step)
    with seeded(step):
        down = server.broadcast(site, step)
        return schedule.strategy.learn(  # type: ignore[no-any-return]
            schedule.strategy_config, schedule.setting, down, arrival, Vault(vault, step)
        )


def server_of(schedule: Schedule) -> Any:
    return schedule.strategy.server(schedule.strategy_config, schedule.setting)


@pytest.mark.parametrize("name", METHODS)
class TestEveryMethod:
    @pytest.mark.slow
    def test_a_run_with_rounds_and_a_returning_site_goes_through(self, name: str, run_tiny: Run, small: Small) -> None:
        arrivals = ["A", ["B", "C"], "A"]
        budget = {"iterations": 2, "batch": 3, "rounds": 2}
        assert Store(run_tiny(strategy=small(name), policy="reference-only", arrivals=arrivals, budget=budget)).done

    def test_a_resumed_server_goes_on_with_the_same_bits(
        self, name: str, tiny: Tiny, small: Small, tmp_path: Path
    ) -> None:
        schedule = schedule_of(tiny, small(name))
        server, again = server_of(schedule), server_of(schedule)
        with seeded(1):
            server.absorb({"A": learn(schedule, server, "A", 1, tmp_path / "A")}, 1)
        again.load_state_dict({key: tensor.clone() for key, tensor in server.state_dict().items()})
        packed = []
        for number, one in enumerate((server, again)):
            up = learn(schedule, one, "B", 2, tmp_path / f"B{number}")
            with seeded(2):
                one.absorb({"B": up}, 2)
            packed.append(pack(up, manifest_of(up)))
        assert packed[0] == packed[1]
        first, second = server.state_dict(), again.state_dict()
        assert first.keys() == second.keys()
        assert all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.parametrize("name", OFF)
def test_switched_off_it_is_fine_tuning(name: str, tiny: Tiny, small: Small, tmp_path: Path) -> None:
    scored = []
    for strategy in ({**small(name), **OFF[name]}, {"name": "finetune"}):
        schedule = schedule_of(tiny, strategy)
        server = server_of(schedule)
        for step, site in enumerate(("A", "B", "A"), start=1):
            up = learn(schedule, server, site, step, tmp_path / str(strategy["name"]) / site)
            with seeded(step):
                server.absorb({site: up}, step)
        scored.append(server.predictor("A").state_dict())
    assert all(torch.equal(value, scored[1][key]) for key, value in scored[0].items())
