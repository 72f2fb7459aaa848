"""A bench from end to end: what is run, what is not run again, what fails, and what is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from simulator.bench.collecting import collect
from simulator.bench.running import Wanted, bench
from simulator.bench.store import BenchStore
from simulator.bench.trials import read_suite
from sites.errors import UserError

Write = Callable[..., Path]

TABLES = ("results.csv", "results.parquet", "matrix.csv")


def test_a_bench_writes_a_row_for_each_trial_in_the_suites_order(suite: Write, here: list[str], tmp_path: Path) -> None:
    path, folder = suite(orders=2), tmp_path / "out"
    assert bench(path, [], folder, Wanted(), as_json=False) == 0
    table = pd.read_csv(folder / "results.csv")
    trials = read_suite(path).trials
    assert list(table["trial"]) == [trial.identity for trial in trials] == here
    assert set(table["status"]) == {"done"}
    assert table["dice_accuracy"].between(0, 1).all()
    assert table["dice_intransigence"].notna().all()
    assert set(table["kinds_up"]) == {"segmenter", "image+label"}
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "results.parquet"), collect(BenchStore(folder)).trials)
    matrix = pd.read_csv(folder / "matrix.csv")
    assert len(matrix) == 4 * 3 * 3
    assert matrix.query("site == 'E'")["arrived"].eq(0).all()
    assert (pd.read_csv(folder / "costs.csv")["cpu_seconds"] > 0).all()


def test_every_byte_released_is_counted_once(suite: Write, here: list[str], tmp_path: Path) -> None:
    bench(suite(), [], tmp_path / "out", Wanted(), as_json=True)
    store = BenchStore(tmp_path / "out")
    before = collect(store).trials
    assert before["bytes_up"].eq(2 * before["bytes_first"]).all()
    receipts = store.trial_root(here[0]) / "receipts.jsonl"
    receipts.write_text(receipts.read_text() * 2)  # as a kill between a receipt and its checkpoint leaves them
    pd.testing.assert_frame_equal(collect(store).trials, before)


def test_a_trial_that_is_done_is_not_run_again(suite: Write, here: list[str], tmp_path: Path) -> None:
    folder, path = tmp_path / "out", suite(orders=2)
    assert bench(path, [], folder, Wanted(only=("joint",)), as_json=True) == 0
    assert len(here) == 2
    assert list(pd.read_csv(folder / "results.csv")["status"]) == ["missing", "missing", "done", "done"]
    here.clear()
    assert bench(path, [], folder, Wanted(), as_json=True) == 0
    assert len(here) == 2
    before = [(folder / name).read_bytes() for name in TABLES]
    here.clear()
    assert bench(path, [], folder, Wanted(), as_json=True) == 0
    assert here == []
    assert [(folder / name).read_bytes() for name in TABLES] == before


def test_parts_of_several_occasions_and_machines_make_the_same_whole(
    suite: Write, here: list[str], tmp_path: Path
) -> None:
    path = suite(seeds=2)
    assert bench(path, [], tmp_path / "whole", Wanted(), as_json=True) == 0
    assert bench(path, [], tmp_path / "out", Wanted(only=("joint",), seeds=(1,)), as_json=True) == 0
    assert bench(path, [], tmp_path / "other", Wanted(only=("finetune",)), as_json=True) == 0
    for trial in (tmp_path / "other" / "trials").glob("*"):
        shutil.copytree(trial, tmp_path / "out" / "trials" / trial.name, dirs_exist_ok=True)
    here.clear()
    assert bench(path, [], tmp_path / "out", Wanted(), as_json=True) == 0
    assert len(here) == 1
    for name in TABLES:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_a_folder_that_has_moved_goes_on_with_what_it_has(suite: Write, here: list[str], tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("admit: [image, label, score]\n")
    path = suite(strategies=["finetune", {"name": "joint", "policy": "own.yaml"}])
    assert bench(path, [], tmp_path / "out", Wanted(only=("joint",)), as_json=True) == 0
    here.clear()
    elsewhere = tmp_path / "another" / "machine"
    elsewhere.mkdir(parents=True)
    for name in ("suite.yaml", "tiny.yaml", "own.yaml", "out"):
        (tmp_path / name).rename(elsewhere / name)
    assert bench(elsewhere / path.name, [], elsewhere / "out", Wanted(), as_json=True) == 0
    assert len(here) == 1
    assert set(pd.read_csv(elsewhere / "out" / "results.csv")["status"]) == {"done"}


def test_a_suite_may_grow_in_its_folder(suite: Write, here: list[str], tmp_path: Path) -> None:
    bench(suite(), [], tmp_path / "out", Wanted(), as_json=True)
    here.clear()
    bench(suite(seeds=2), [], tmp_path / "out", Wanted(), as_json=True)
    assert len(here) == 2
    assert list(pd.read_csv(tmp_path / "out" / "results.csv")["seed"]) == [0, 1, 0, 1]


def test_a_folder_of_another_suite_or_of_something_else_is_refused(
    suite: Write, here: list[str], tmp_path: Path
) -> None:
    bench(suite(), [], tmp_path / "out", Wanted(), as_json=True)
    with pytest.raises(UserError, match="2 of its 2 trials are not in this one; choose another --out"):
        bench(suite(), ["cases.train=2"], tmp_path / "out", Wanted(), as_json=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="is there already, and no bench folder"):
        bench(suite(), [], tmp_path / "mine", Wanted(), as_json=True)


def test_nothing_runs_and_nothing_is_made_where_one_trial_does_not_hold(
    suite: Write, here: list[str], tmp_path: Path
) -> None:
    path = suite(strategies=["finetune", "joint"])
    with pytest.raises(UserError, match=r"tiny, joint, A-B, seed 0: .*policy: 'default' of site 'A' does not admit"):
        bench(path, [], tmp_path / "out", Wanted(), as_json=True)
    assert here == []
    assert not (tmp_path / "out").exists()


def test_a_failed_trial_is_named_stops_no_other_and_is_tried_again(
    suite: Write, here: list[str], tmp_path: Path, printed: Callable[[], str]
) -> None:
    (tmp_path / "strict.yaml").write_text("admit: [segmenter, score]\nbyte_budget: 1000\n")
    path = suite(strategies=[{"name": "finetune", "policy": "strict.yaml"}, "fedavg"], reference=None, seeds=2)
    assert bench(path, [], tmp_path / "out", Wanted(), as_json=False) == 1
    out = printed().replace("\n", " ")
    assert "failed: tiny, finetune, A-B, seed 0: site 'A' failed to learn at step 1: OVER_BUDGET" in out
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert list(table["status"]) == ["failed", "failed", "done", "done"]
    assert table["dice_accuracy"].isna().tolist() == [True, True, False, False]
    assert table["reason"][0] == "site 'A' failed to learn at step 1: OVER_BUDGET"
    here.clear()
    assert bench(path, [], tmp_path / "out", Wanted(), as_json=False) == 1
    assert len(here) == 2


def test_an_error_of_the_code_is_a_failed_trial_with_its_traceback_kept(
    suite: Write, here: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("of all\nthings")

    monkeypatch.setattr("strategies.finetune.RelayServer.absorb", broken)
    assert bench(suite(), [], tmp_path / "out", Wanted(), as_json=True) == 1
    assert pd.read_csv(tmp_path / "out" / "results.csv")["reason"][0] == "ZeroDivisionError: of all things"
    root = BenchStore(tmp_path / "out").trial_root(here[0])
    assert "in broken" in (root / "error.txt").read_text()


def test_a_folder_that_a_kill_left_half_made_is_made_anew(suite: Write, here: list[str], tmp_path: Path) -> None:
    path = suite()
    bench(path, [], tmp_path / "whole", Wanted(), as_json=True)
    bench(path, [], tmp_path / "out", Wanted(only=("joint",)), as_json=True)
    half = tmp_path / "out" / "trials" / here[0] / "sites" / "A"
    half.mkdir(parents=True)
    (half / "policy.yaml").write_text("admit: []\n")
    assert bench(path, [], tmp_path / "out", Wanted(), as_json=True) == 0
    for name in TABLES:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_results_for_machines(suite: Write, here: list[str], tmp_path: Path, printed: Callable[[], str]) -> None:
    bench(suite(), ["unseen=[]"], tmp_path / "out", Wanted(), as_json=True)
    told = json.loads(printed())
    assert told["complete"] is True
    assert told["deviations"] == []
    assert told["trials"][0]["dice_unseen"] is None
    assert 0 <= told["trials"][0]["dice_accuracy"] <= 1


def test_golden_figures_are_kept_and_held_against_a_rerun(
    suite: Write, here: list[str], tmp_path: Path, printed: Callable[[], str]
) -> None:
    path, golden = suite(), tmp_path / "golden.json"
    assert bench(path, [], tmp_path / "out", Wanted(freeze=golden), as_json=True) == 0
    told = json.loads(golden.read_text())
    assert told["machine"].keys() >= {"processor", "date", "commit"}
    with pytest.raises(UserError, match="is there already"):
        bench(path, [], tmp_path / "out", Wanted(freeze=golden), as_json=True)
    shutil.rmtree(tmp_path / "out")
    assert bench(path, [], tmp_path / "out", Wanted(check=golden), as_json=True) == 0
    told["trials"][1]["scores"]["dice_accuracy"] += 0.03
    golden.write_text(json.dumps(told))
    printed()
    assert bench(path, [], tmp_path / "out", Wanted(check=golden), as_json=False) == 1
    out = printed()
    assert "off: tiny, joint, A-B, seed 0: dice_accuracy: " in out
    assert out.count("off:") == 1
    assert bench(path, [], tmp_path / "out", Wanted(check=golden, only=("finetune",)), as_json=False) == 0


def test_golden_figures_are_not_frozen_from_a_bench_with_failures(
    suite: Write, here: list[str], tmp_path: Path
) -> None:
    (tmp_path / "strict.yaml").write_text("admit: [segmenter, score]\nbyte_budget: 1000\n")
    path = suite(strategies=[{"name": "finetune", "policy": "strict.yaml"}], reference=None)
    assert bench(path, [], tmp_path / "out", Wanted(freeze=tmp_path / "golden.json"), as_json=True) == 1
    assert not (tmp_path / "golden.json").exists()


@pytest.mark.parametrize(
    ("wanted", "fragment"),
    [
        (Wanted(only=("nobody",)), "--only nobody: the suite has finetune, joint"),
        (Wanted(seeds=(9,)), "--seeds 9: the suite has 0"),
        (Wanted(check=Path("nowhere.json")), "nowhere.json: can't be read"),
    ],
)
def test_a_part_that_is_not_there_is_named(
    suite: Write, here: list[str], tmp_path: Path, wanted: Wanted, fragment: str
) -> None:
    with pytest.raises(UserError, match=fragment):
        bench(suite(), [], tmp_path / "out", wanted, as_json=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_tracker_shows_each_trial_once(suite: Write, here: list[str], tmp_path: Path, name: str) -> None:
    folder = {"tensorboard": "tensorboard", "mlflow": "mlruns"}[name]
    path = suite()
    for _ in range(2):
        assert bench(path, [], tmp_path / "out", Wanted(track=name), as_json=True) == 0
    written = tmp_path / "out" / folder
    runs = [found.name for found in written.iterdir()] if name == "tensorboard" else list(written.glob("*/*/meta.yaml"))
    assert len(runs) == 2
    if name == "tensorboard":
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(next(written.glob("tiny-finetune-*"))))
        events.Reload()
        assert [event.step for event in events.Scalars("dice/A")] == [0, 1, 2]
    else:
        from mlflow import MlflowClient

        client = MlflowClient(written.as_uri())
        (run,) = client.search_runs(
            [client.get_experiment_by_name("suite").experiment_id], "params.`strategy.name` = 'finetune'"
        )
        assert [metric.step for metric in client.get_metric_history(run.info.run_id, "dice/A")] == [0, 1, 2]
        results = pd.read_csv(tmp_path / "out" / "results.csv")
        assert run.data.metrics["final/dice_accuracy"] == results["dice_accuracy"][0]


def test_a_tracker_that_is_not_installed_is_named_before_any_work(
    suite: Write, here: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    with pytest.raises(UserError, match=r"--track mlflow: is not installed .*pip install 'wardround\[mlflow\]'"):
        bench(suite(), [], tmp_path / "out", Wanted(track="mlflow"), as_json=True)
    assert not (tmp_path / "out").exists()
