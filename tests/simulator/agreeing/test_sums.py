"""Under secure aggregation the server can read sums alone, and learns from them the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from simulator.contract import Reply
from simulator.flower import server_app
from simulator.flower.launch import on_ray
from simulator.flower.server_app import Silence, execute
from simulator.schedule import read_schedule
from simulator.store import Store
from sites.ledger import first_broken, read_rows
from sites.wire import Payload
from strategies import known, load
from tests.simulator.agreeing.masked import LONGER, MASKED, SIMULATED, TOGETHER, Policy, Run, released, state
from tests.simulator.test_resume import in_a_process

SUMMING = [name for name in known() if load(name).sums(load(name).config()) is not None]


def test_those_that_merely_sum_are_these() -> None:
    assert SUMMING == ["fedadam", "fedavg", "fedbn", "fedprox", "scaffold"]


@pytest.mark.parametrize(
    "name",
    [name if name == "scaffold" else pytest.param(name, marks=pytest.mark.slow) for name in SUMMING] + ["uniform"],
)
def test_the_server_learns_the_same_from_the_sum(name: str, run_tiny: Run, policy: Policy) -> None:
    strategy = {"name": "fedavg", "weighting": "uniform"} if name == "uniform" else name
    arrivals = [[{"site": "A", "train": 2}, {"site": "B", "train": 5}, "C"]]
    keys = {**TOGETHER, "strategy": strategy, "arrivals": arrivals}
    plain, masked = (
        state(run_tiny(folder, **keys, policy=policy(folder, **settings)))
        for folder, settings in (("plain", {}), ("masked", MASKED))
    )
    for key, value in plain.items():
        torch.testing.assert_close(masked[key], value, rtol=0, atol=1e-8)


def test_the_server_gets_no_bit_of_an_upload_as_it_was(
    run_tiny: Run, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights of this size are below 2^40 as whole numbers; under masks they are anything below 2^63."""
    seen: dict[str, Reply] = {}
    taken = server_app.FlowerExchange._take

    def watch(self: Any, site: str, reply: Reply, *rest: Any, masked: int) -> Payload:
        if masked:
            seen[site] = reply
        return taken(self, site, reply, *rest, masked=masked)

    monkeypatch.setattr(server_app.FlowerExchange, "_take", watch)
    run = run_tiny(**TOGETHER, policy=policy(**MASKED))
    average = state(run)
    assert set(seen) == {"A", "B", "C"}
    for reply in seen.values():
        words = torch.frombuffer(
            bytearray(b"".join(reply.body[f"segmenter/{name}"] for name in average)), dtype=torch.int64
        )
        assert words.numel() == sum(value.numel() for value in average.values())
        assert float(words.double().abs().median()) > 2.0**61
        assert int.from_bytes(reply.body["cases"], "little", signed=True) != 3
    total = sum(int.from_bytes(reply.body["cases"], "little") for reply in seen.values())
    assert total % 2**64 == 3 * 3


def test_scores_are_the_same_bits_with_any_secret_and_uploads_with_a_simulated_one(
    run_tiny: Run, policy: Policy
) -> None:
    drawn, simulated = policy("drawn", **MASKED), policy("simulated", **SIMULATED)
    runs = [
        run_tiny(str(row), **TOGETHER, policy=path) for row, path in enumerate((drawn, drawn, simulated, simulated))
    ]
    for name in ("scores.jsonl", "checkpoint.safetensors"):
        assert len({(run / name).read_bytes() for run in runs}) == 1
    for purpose in ("learn", "keys"):
        left = [tuple(row["sha256"] for site in "ABC" for row in released(run, site, purpose)) for run in runs]
        assert len(set(left)) == 3
        assert left[2] == left[3]


def test_the_ledger_says_in_what_sum_a_release_can_be_read(run_tiny: Run, policy: Policy) -> None:
    run = run_tiny(**LONGER, policy=policy(**MASKED))
    for site in "ABC":
        assert [row["masked"] for row in released(run, site)] == [3, 3, 3, 3, 4, 4, 4, 4]
        assert [row["bytes"] for row in released(run, site, "keys")] == [32] * 4
    rosters = [[row["roster"] for row in released(run, site)] for site in "ABC"]
    assert rosters[0] == rosters[1] == rosters[2]
    assert len(set(rosters[0])) == 4
    receipts = [row for row in read_rows(run / "receipts.jsonl") if row["purpose"] == "learn"]
    assert {row["sha256"] for row in receipts} == {row["sha256"] for site in "ABCD" for row in released(run, site)}
    assert {row["masked"] for row in receipts} == {3, 4}


@pytest.mark.parametrize(
    "defence",
    [
        pytest.param({"clip": 0.05}, marks=pytest.mark.slow),
        {"clip": 0.05, "noise": 0.1},
        pytest.param({"dp_sgd": {"noise_multiplier": 1.0, "delta": 0.01}}, marks=pytest.mark.slow),
        {"clip": 0.05, "noise": 0.1, "dp_sgd": {"noise_multiplier": 1.0, "delta": 0.01}, "round_counts_to": 5},
    ],
    ids=["clip", "noise", "DP-SGD", "all"],
)
def test_masks_come_after_every_other_defence(defence: dict[str, Any], run_tiny: Run, policy: Policy) -> None:
    keys = {**TOGETHER, "network": {"widths": [4, 8], "residual_units": 0, "norm": "instance"}}
    plain, masked = (
        run_tiny(folder, **keys, policy=policy(folder, simulated_secret="a", **defence, **settings))
        for folder, settings in (("plain", {}), ("masked", MASKED))
    )
    for key, value in state(plain).items():
        torch.testing.assert_close(state(masked)[key], value, rtol=0, atol=1e-8)
    for row in released(masked, "A"):
        assert row["masked"] == 3
        assert row.get("clip") == (defence.get("clip") if row["kind"] == "segmenter" else None)
        assert row.get("noise") == (defence.get("noise") if row["kind"] == "segmenter" else None)


@pytest.mark.parametrize("share", [0.5, pytest.param(0.3, marks=pytest.mark.slow)])
def test_killed_and_resumed_gives_the_same_bits(share: float, run_tiny: Run, policy: Policy, tmp_path: Path) -> None:
    path = policy(**SIMULATED)
    whole = run_tiny("whole", **LONGER, policy=path)
    counted = Store.create(tmp_path / "again", read_schedule(whole / "config.yaml"))
    assert in_a_process(counted.root) == 0
    points = int((tmp_path / "counted").read_text())
    killed = Store.create(tmp_path / "killed", read_schedule(whole / "config.yaml")).root
    assert in_a_process(killed, int(points * share)) < 0
    assert in_a_process(killed) == 0
    for name in ("scores.jsonl", "checkpoint.safetensors"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    for site in "ABCD":
        assert {r["sha256"] for r in released(killed, site)} == {r["sha256"] for r in released(whole, site)}
        assert first_broken(read_rows(killed / "sites" / site / "ledger.jsonl")) is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_actors_give_the_bits_of_one_process(run_tiny: Run, policy: Policy, tmp_path: Path) -> None:
    whole = run_tiny("whole", **LONGER, policy=policy(**SIMULATED))
    store = Store.create(tmp_path / "actors", read_schedule(whole / "config.yaml"))
    with on_ray(None):
        from simulator.flower.grids.actors import SiteActorGrid

        homes = [store.home(site) for site in store.schedule().timeline.sites]
        grid = SiteActorGrid(homes, actors=2, reply_seconds=300)
        execute(grid, store, Silence())
        grid.close()
    for name in ("scores.jsonl", "checkpoint.safetensors"):
        assert (store.root / name).read_bytes() == (whole / name).read_bytes()
    for site in "ABCD":
        assert [r["sha256"] for r in released(store.root, site)] == [r["sha256"] for r in released(whole, site)]
