"""Real-exemplar replay: what the server ends up holding, and where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from simulator.schedule import Schedule, read_schedule
from sites.errors import ConfigError
from sites.seeds import seeded
from sites.stream import Arrival
from sites.vault import Vault
from strategies.common.segmenter import build_segmenter, slices_of

Tiny = Callable[..., Path]
SITES = ("A", "B", "C")


def run(tiny: Tiny, tmp_path: Path, strategy: Mapping[str, object], groups: tuple[tuple[str, ...], ...]) -> Any:
    """Let groups of sites learn, three slices each, and return the schedule, the server and the last uploads."""
    schedule = read_schedule(tiny(strategy=dict(strategy), arrivals=list(SITES), policy="reference-only"))
    config, setting = schedule.strategy_config, schedule.setting
    server, uploads = schedule.strategy.server(config, setting), {}
    for step, group in enumerate(groups, start=1):
        with seeded(step):
            downs = {site: server.broadcast(site, step) for site in group}
            arrivals = {
                site: Arrival(site=site, step=step, round=1, cases=cases_of(schedule, site), seed=step)
                for site in group
            }
            uploads = {
                site: schedule.strategy.learn(config, setting, downs[site], arrivals[site], Vault(tmp_path, step))
                for site in group
            }
            server.absorb(uploads, step)
    return schedule, server, uploads


def cases_of(schedule: Schedule, site: str) -> Any:
    return schedule.source.train(site, 0, 3)


def held_of(server: Any) -> dict[str, torch.Tensor]:
    return {key.removeprefix("buffer/"): value for key, value in server.state_dict().items() if "buffer/" in key}


def sources(schedule: Schedule, images: torch.Tensor) -> list[str]:
    """The site that each image is a slice of."""
    slices = {site: slices_of(cases_of(schedule, site))[0] for site in SITES}
    found = [[site for site, own in slices.items() if any(torch.equal(image, one) for one in own)] for image in images]
    assert all(len(sites) == 1 for sites in found)
    return [sites[0] for sites in found]


@pytest.mark.parametrize("name", ["er", "derpp"])
@pytest.mark.parametrize("size", [4, 100])
def test_a_reservoir_holds_exactly_the_stated_number_of_real_slices(
    name: str, size: int, tiny: Tiny, tmp_path: Path
) -> None:
    schedule, server, _ = run(tiny, tmp_path, {"name": name, "buffer": size}, (("A",), ("B",), ("C",)))
    images = held_of(server)["images"]
    assert len(images) == min(size, 9)
    assert len(torch.unique(images, dim=0)) == len(images)
    assert sorted(sources(schedule, images)) == sources(schedule, images)


def test_no_more_leaves_a_site_than_the_reservoir_takes(tiny: Tiny, tmp_path: Path) -> None:
    _, server, uploads = run(tiny, tmp_path, {"name": "er", "buffer": 4}, (("A",), ("B",)))
    taken = int(uploads["B"].held)
    assert int((server.broadcast("C", 3).counts)[1]) == taken
    assert not uploads["B"].images[taken:].any()


@pytest.mark.parametrize("name", ["agem", "pga_exemplar"])
def test_each_site_leaves_its_number_of_exemplars_and_a_returning_one_replaces_them(
    name: str, tiny: Tiny, tmp_path: Path
) -> None:
    schedule, server, _ = run(tiny, tmp_path, {"name": name, "exemplars": 2}, (("A",), ("B",), ("C",), ("A",)))
    assert sources(schedule, held_of(server)["images"]) == ["A", "A", "B", "B", "C", "C"]


@pytest.mark.parametrize("groups", [(("A",), ("B",), ("C",)), (("A",), ("B", "C")), (("A", "B", "C"),)])
def test_gdumb_is_balanced(groups: tuple[tuple[str, ...], ...], tiny: Tiny, tmp_path: Path) -> None:
    for size, each in ((6, [2, 2, 2]), (100, [3, 3, 3])):
        _, server, _ = run(tiny, tmp_path, {"name": "gdumb", "buffer": size}, groups)
        assert server.broadcast("A", 9).counts.tolist() == each


def test_gdumb_starts_from_scratch_each_time(tiny: Tiny, tmp_path: Path) -> None:
    from sites.seeds import seed_of
    from strategies.common.segmenter import train_segmenter

    schedule, server, _ = run(tiny, tmp_path, {"name": "gdumb", "buffer": 6}, (("A",), ("B",)))
    fresh = build_segmenter(schedule.setting)
    with seeded(2):
        train_segmenter(
            fresh, schedule.setting, **held_of(server), iterations=6, seed=seed_of(schedule.setting.seed, "gdumb", 2)
        )
    found = server.predictor("A").state_dict()
    assert all(torch.equal(value, found[name]) for name, value in fresh.state_dict().items())


def test_derpp_stores_what_the_segmenter_said_of_each_exemplar(tiny: Tiny, tmp_path: Path) -> None:
    _, server, uploads = run(tiny, tmp_path, {"name": "derpp", "buffer": 4}, (("A",),))
    network, held = server.predictor("A").eval(), held_of(server)
    with torch.no_grad():
        torch.testing.assert_close(held["logits"], network(held["images"]))
    assert torch.equal(uploads["A"].logits[:3], held["logits"])


def test_derpp_pulls_towards_the_stored_logits(tiny: Tiny, tmp_path: Path) -> None:
    distances = []
    for alpha in (0.0, 100.0):
        strategy = {"name": "derpp", "buffer": 3, "alpha": alpha, "beta": 0.0}
        schedule = read_schedule(
            tiny(strategy=strategy, policy="reference-only", budget={"iterations": 30, "batch": 3})
        )
        config, setting = schedule.strategy_config, schedule.setting
        server = schedule.strategy.server(config, setting)
        for step, site in enumerate("AB", start=1):
            arrival = Arrival(site=site, step=step, round=1, cases=cases_of(schedule, site), seed=step)
            with seeded(step):
                down = server.broadcast(site, step)
                up = schedule.strategy.learn(config, setting, down, arrival, Vault(tmp_path, step))
                if step == 1:
                    server.absorb({site: up}, step)
        network = build_segmenter(setting)
        network.load_state_dict(dict(up.segmenter))
        with torch.no_grad():
            distances.append(float((network.eval()(down.images) - down.logits).square().mean()))
    assert distances[1] < distances[0] / 2


@pytest.mark.parametrize("name", ["er", "derpp", "agem", "gdumb", "pga_exemplar"])
def test_real_exemplars_are_refused_by_the_default_policy(name: str, tiny: Tiny) -> None:
    with pytest.raises(ConfigError, match="image"):
        read_schedule(tiny(strategy=name)).check()
