"""The loop calls a strategy in one total order, scores after every step, and stops where a site fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simulator.contract import Purpose
from simulator.flower.launch import launch
from simulator.flower.server_app import Silence
from simulator.loop import SitesFailed, events_of
from simulator.schedule import Schedule, read_schedule
from simulator.store import Store
from sites.gate import Code
from sites.ledger import read_rows
from tests.simulator.counted import Counted

Tiny = Callable[..., Path]
Run = Callable[..., Path]


def laid_out(schedule: Schedule) -> list[tuple[str, int, int, tuple[str, ...]]]:
    server = schedule.strategy.server(schedule.strategy_config, schedule.setting)
    return [(e.purpose.value, e.turn.step, e.turn.round, e.sites) for e in events_of(schedule, server)]


def test_fine_tuning_takes_the_sites_of_a_step_one_after_another(tiny: Tiny) -> None:
    every = ("A", "B", "C", "E")
    assert laid_out(read_schedule(tiny(arrivals=["A", ["B", "C"]]))) == [
        ("score", 0, 0, every),
        ("learn", 1, 1, ("A",)),
        ("score", 1, 1, every),
        ("learn", 2, 1, ("B",)),
        ("learn", 2, 1, ("C",)),
        ("score", 2, 1, every),
    ]


def test_federated_averaging_takes_all_that_are_online_in_every_round(tiny: Tiny) -> None:
    keys = {"arrivals": ["A", "B"], "stay": "forever", "budget": {"iterations": 4, "rounds": 2}}
    assert [entry for entry in laid_out(read_schedule(tiny(strategy="fedavg", **keys))) if entry[0] == "learn"] == [
        ("learn", 1, 1, ("A",)),
        ("learn", 1, 2, ("A",)),
        ("learn", 2, 1, ("A", "B")),
        ("learn", 2, 2, ("A", "B")),
    ]


def test_turns_are_numbered_without_gaps(tiny: Tiny) -> None:
    schedule = read_schedule(tiny(arrivals=["A", ["B", "C"]], budget={"iterations": 4, "rounds": 3}))
    server = schedule.strategy.server(schedule.strategy_config, schedule.setting)
    assert [event.turn.serial for event in events_of(schedule, server)] == list(range(12))


def test_every_site_is_scored_after_every_step(run_tiny: Run) -> None:
    scores = Store(run_tiny()).scores()
    assert len(scores) == 3 * 3
    assert set(zip(scores.step, scores.site, strict=True)) == {(s, site) for s in range(3) for site in "ABE"}
    assert scores.dice.between(0, 1).all()
    assert (scores[["hd95", "asd"]] >= 0).all(axis=None)


def test_one_seed_gives_the_same_bits_and_another_seed_gives_others(run_tiny: Run) -> None:
    first, again, other = run_tiny("a"), run_tiny("b"), run_tiny("c", seed=1)
    assert (first / "scores.jsonl").read_bytes() == (again / "scores.jsonl").read_bytes()
    assert (first / "scores.jsonl").read_bytes() != (other / "scores.jsonl").read_bytes()


def test_receipts_and_ledgers_name_the_same_bytes(run_tiny: Run) -> None:
    folder = run_tiny(strategy="fedavg", stay="forever")
    receipts = read_rows(folder / "receipts.jsonl")
    kept = ("purpose", "step", "round", "field", "kind", "bytes", "sha256")
    for site in "ABE":
        released = [row for row in read_rows(folder / "sites" / site / "ledger.jsonl") if row["event"] == "release"]
        mine = [row for row in receipts if row["site"] == site]
        assert [[row[key] for key in kept] for row in released] == [[row[key] for key in kept] for row in mine]
        assert {row["field"] for row in mine} == (
            {"values", "held"} if site == "E" else {"values", "held", "segmenter", "cases"}
        )


def test_a_run_stops_where_a_site_refuses_and_goes_on_when_it_is_mended(
    tiny: Tiny, tmp_path: Path, run_tiny: Run
) -> None:
    whole = run_tiny("whole")
    schedule = read_schedule(tiny())
    store = Store.create(tmp_path / "run", schedule)
    policy = store.home("B").root / "policy.yaml"
    good = policy.read_text()
    policy.write_text("admit: [score]\n")
    with pytest.raises(SitesFailed, match="site 'B' failed to learn at step 2: KIND_NOT_ADMITTED") as caught:
        launch(store, "local", Silence())
    failure = caught.value.failures[0]
    assert (failure.site, failure.step, failure.purpose, failure.code) == (
        "B",
        2,
        Purpose.LEARN,
        Code.KIND_NOT_ADMITTED,
    )
    assert not store.done
    assert store.failures() == ("site 'B' failed to learn at step 2: KIND_NOT_ADMITTED",)
    policy.write_text(good)
    launch(store, "local", Silence())
    assert store.done
    assert (store.root / "scores.jsonl").read_bytes() == (whole / "scores.jsonl").read_bytes()


def test_joint_training_keeps_earlier_sites_and_runs_under_its_own_policy_alone(run_tiny: Run) -> None:
    folder = run_tiny(
        strategy="joint", policy="reference-only", cases={"train": 8, "held_out": 2}, budget={"epochs": 20}
    )
    kinds = {row["kind"] for row in read_rows(folder / "receipts.jsonl")}
    assert kinds == {"image", "label", "score"}


def test_progress_counts_every_site_turn(tiny: Tiny, tmp_path: Path) -> None:
    progress = Counted()
    launch(Store.create(tmp_path / "run", read_schedule(tiny())), "local", progress)
    assert progress.count == progress.total == 3 * 3 + 2


def test_the_run_folder_says_what_it_was_made_with(run_tiny: Run) -> None:
    folder = run_tiny(seed=3)
    versions = json.loads((folder / "versions.json").read_text())
    assert {"wardround", "torch", "flwr", "python", "started"} <= versions.keys()
    assert read_schedule(folder / "config.yaml").config.seed == 3


def test_a_folder_of_the_users_own_runs_from_beside_its_schedule(run_tiny: Run, tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    for site in ("north", "south"):
        for case in range(8):
            image = draws.integers(60, 120, (40, 30), dtype=np.uint8)
            mask = np.zeros_like(image)
            mask[10:24, 8:20] = 1
            for folder, picture in (("images", image + 90 * mask), ("masks", mask)):
                path = tmp_path / "data" / site / folder / f"p{case}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(path)
    source = {"kind": "folder", "root": "data", "size": 32, "slices": 1, "structures": {"lesion": [1]}}
    cases = {"train": 6, "held_out": 2}
    budget = {"iterations": 60, "batch": 6, "learning_rate": 0.02}
    folder = run_tiny(source=source, task="lesions", arrivals=["north"], unseen=["south"], cases=cases, budget=budget)
    final = Store(folder).scores().query("step == 1")
    assert set(final.structure) == {"lesion"}
    assert final.dice.mean() > 0.7
    everything = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "site.log")
    assert b"p0.png" not in everything
