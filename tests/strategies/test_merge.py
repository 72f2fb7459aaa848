"""Merging: each rule against its closed form, and what the base is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sites.stream import Arrival
from sites.vault import Vault
from strategies.merge import Config, MergeServer, Upload, learn, merged
from strategies.setting import Setting


def model(value: float, fisher: float, cases: int = 1) -> Upload:
    return Upload(
        segmenter={"w": torch.tensor([value]), "n.running_mean": torch.tensor([value])},
        fisher={"w": torch.tensor([fisher])},
        cases=torch.tensor([cases]),
    )


@pytest.mark.parametrize(
    ("rule", "weight", "mean"),
    [
        ("fisher", (3.0 * 1 + 1.0 * 5) / 4, 4.0),
        ("arithmetic", 2.0 + 0.4 * ((1 - 2) + (5 - 2)), 4.0),
        ("average", (1.0 * 1 + 3.0 * 5) / 4, 4.0),
        ("latest", 5.0, 5.0),
    ],
)
def test_each_rule_is_its_closed_form(rule: str, weight: float, mean: float) -> None:
    base = {"w": torch.tensor([2.0]), "n.running_mean": torch.tensor([2.0])}
    config = Config.model_validate({"rule": rule, "floor": 1e-12})
    found = merged(config, base, [model(1.0, 3.0, cases=1), model(5.0, 1.0, cases=3)])
    assert found["w"].item() == pytest.approx(weight)
    assert found["n.running_mean"].item() == pytest.approx(mean)


def test_parameters_that_matter_to_nobody_are_averaged() -> None:
    found = merged(Config(), {"w": torch.zeros(1)}, [model(1.0, 0.0), model(5.0, 0.0)])
    assert found["w"].item() == pytest.approx(3.0)


def test_later_sites_start_from_what_the_first_step_taught(
    plain: Setting, disc: Callable[..., Arrival], tmp_path: Path
) -> None:
    server = MergeServer(Config(rule="average"), plain)
    ups = {}
    for step, site in enumerate("AB", start=1):
        down = server.broadcast(site, step)
        ups[site] = learn(Config(), plain, down, disc(site, step, shade=0.2 * step), Vault(tmp_path, 1))
        server.absorb({site: ups[site]}, step)
    third = server.broadcast("C", 3).segmenter
    assert all(torch.equal(third[name], ups["A"].segmenter[name]) for name in third)
    again = server.broadcast("B", 2).segmenter
    assert all(torch.equal(again[name], ups["B"].segmenter[name]) for name in again)
    resumed = MergeServer(Config(rule="average"), plain)
    resumed.load_state_dict(server.state_dict())
    for one in (server, resumed):
        one.absorb({"A": ups["B"]}, 3)
    for name, value in server.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])


def test_the_fisher_leaves_only_where_the_rule_needs_it(
    plain: Setting, disc: Callable[..., Arrival], tmp_path: Path
) -> None:
    config = Config(rule="arithmetic")
    down = MergeServer(config, plain).broadcast("A", 1)
    assert learn(config, plain, down, disc(), Vault(tmp_path, 1)).fisher == {}
