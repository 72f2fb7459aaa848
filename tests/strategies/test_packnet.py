"""PackNet: owned weights keep their bits, every site's view of the network lasts, and pruning takes the smallest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from simulator.schedule import read_schedule
from simulator.store import Store
from sites.seeds import seeded
from sites.stream import Arrival
from sites.vault import Vault
from strategies.packnet import Broadcast, claim, kernels, masked, newest

Tiny = Callable[..., Path]
Run = Callable[..., Path]


def test_the_largest_free_weights_are_claimed_and_owned_ones_are_left() -> None:
    weight = torch.tensor([[0.1, -9.0, 0.5, -0.6, 0.2]])
    owner = torch.tensor([[0, 1, 0, 0, 0]], dtype=torch.uint8)
    assert claim(weight, owner, 2, prune=0.5).tolist() == [[0, 1, 2, 2, 0]]
    assert claim(weight, owner, 2, prune=0.75).tolist() == [[0, 1, 0, 2, 0]]


def test_a_mask_shows_what_the_first_sites_own() -> None:
    segmenter = {"w": torch.tensor([1.0, 2.0, 3.0, 4.0]), "bias": torch.ones(1)}
    owner = {"w": torch.tensor([1, 2, 3, 0], dtype=torch.uint8)}
    assert masked(segmenter, owner, 2)["w"].tolist() == [1.0, 2.0, 0.0, 0.0]
    assert masked(segmenter, owner, 2)["bias"].tolist() == [1.0]


def test_owned_weights_keep_their_bits_through_later_sites(tiny: Tiny, tmp_path: Path) -> None:
    schedule = read_schedule(tiny(strategy="packnet", arrivals=["A", "B", "C"]))
    config, setting = schedule.strategy_config, schedule.setting
    server = schedule.strategy.server(config, setting)
    before: Broadcast | None = None
    for step, site in enumerate("ABC", start=1):
        arrival = Arrival(site=site, step=step, round=1, cases=schedule.source.train(site, 0, 3), seed=step)
        with seeded(step):
            down = server.broadcast(site, step)
            server.absorb({site: schedule.strategy.learn(config, setting, down, arrival, Vault(tmp_path, step))}, step)
        now = server.broadcast(site, step)
        now = Broadcast(segmenter={k: v.clone() for k, v in now.segmenter.items()}, owner=dict(now.owner))
        assert newest(now.owner) == step
        if before is not None:
            for name in dict(server.predictor("E").named_parameters()):
                value = now.segmenter[name]
                held = before.owner[name] > 0 if name in before.owner else torch.ones(value.shape, dtype=torch.bool)
                assert torch.equal(value[held], before.segmenter[name][held]), name
                if name in before.owner:
                    assert torch.equal(now.owner[name][held], before.owner[name][held])
        moved = [now.segmenter[name][now.owner[name] == step].abs().sum() for name, _ in kernels(server.predictor("E"))]
        assert float(torch.stack(moved).sum()) > 0
        assert all(not now.segmenter[name][owner == 0].any() for name, owner in now.owner.items())
        before = now


def test_every_site_is_segmented_for_good_as_it_was_when_it_left(run_tiny: Run) -> None:
    store = Store(run_tiny(strategy="packnet", arrivals=["A", "B", "C"]))
    for arrived, site in enumerate("ABC", start=1):
        found = store.predictors(site)
        for step in range(arrived, 4):
            assert all(torch.equal(value, found[step][name]) for name, value in found[arrived].items())
    unseen = store.predictors("E")
    assert any(not torch.equal(value, unseen[2][name]) for name, value in unseen[3].items())


def test_a_share_of_the_free_weights_is_left_for_later_sites(run_tiny: Run) -> None:
    store = Store(run_tiny(strategy={"name": "packnet", "prune": 0.5}, arrivals=["A", "B"]))
    weights = store.predictors("B")
    zeros = [float((weights[step]["model.1.submodule.conv.weight"] == 0).float().mean()) for step in (1, 2)]
    torch.testing.assert_close(torch.tensor(zeros), torch.tensor([0.5, 0.25]), rtol=0, atol=0.01)
