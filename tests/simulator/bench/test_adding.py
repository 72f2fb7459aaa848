"""Trials that were measured elsewhere: taken over from tables alone, counted as done, and never run again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from simulator.bench.adding import FOLDER
from simulator.bench.collecting import collect
from simulator.bench.revisiting import revisit
from simulator.bench.running import Wanted, bench, write_report
from simulator.bench.store import BenchStore
from simulator.bench.words import provenance
from sites.errors import UserError

Write = Callable[..., Path]
Wardround = Callable[..., tuple[int, str, str]]
PUBLISHED = ("suite.yaml", "settings.json", "results.csv", "matrix.csv", "costs.csv")
SAME = ("results.csv", "matrix.csv", "costs.csv")


def publish(folder: Path, into: Path, *changes: tuple[str, str, str]) -> Path:
    """Copy the tables of a bench, with a text of some of them replaced."""
    into.mkdir()
    for name in PUBLISHED:
        shutil.copy(folder / name, into / name)
    for name, old, new in changes:
        text = (into / name).read_text()
        assert old in text
        (into / name).write_text(text.replace(old, new))
    return into


def test_a_bench_goes_on_from_tables_as_it_would_from_trials(suite: Write, here: list[str], tmp_path: Path) -> None:
    path = suite(seeds=2)
    assert bench(path, [], tmp_path / "first", Wanted(seeds=(0,)), as_json=True) == 0
    published = publish(tmp_path / "first", tmp_path / "published")
    here.clear()
    assert bench(path, [], tmp_path / "out", Wanted(add=(published,)), as_json=True) == 0
    assert len(here) == 2
    here.clear()
    shutil.copytree(tmp_path / "out" / "trials", tmp_path / "first" / "trials", dirs_exist_ok=True)
    assert bench(path, [], tmp_path / "first", Wanted(), as_json=True) == 0
    assert here == []
    for name in SAME:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "first" / name).read_bytes(), name


def test_what_was_added_stays_and_is_added_once(suite: Write, here: list[str], tmp_path: Path) -> None:
    path = suite()
    bench(path, [], tmp_path / "first", Wanted(), as_json=True)
    published = publish(tmp_path / "first", tmp_path / "published")
    here.clear()
    for _ in range(2):
        assert bench(path, [], tmp_path / "out", Wanted(add=(published,)), as_json=True) == 0
    shutil.rmtree(published)
    assert bench(path, [], tmp_path / "out", Wanted(), as_json=True) == 0
    write_report(tmp_path / "out")
    assert here == []
    assert [one.name for one in (tmp_path / "out" / FOLDER).iterdir()] == ["001"]
    for name in SAME:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "first" / name).read_bytes(), name
    with pytest.raises(UserError, match="no trial is done"):
        list(revisit(BenchStore(tmp_path / "out"), "anything"))


def test_what_is_measured_here_counts_before_what_was_added(suite: Write, here: list[str], tmp_path: Path) -> None:
    path = suite()
    bench(path, [], tmp_path / "out", Wanted(only=("joint",)), as_json=True)
    bench(path, [], tmp_path / "first", Wanted(), as_json=True)
    published = publish(tmp_path / "first", tmp_path / "published")
    table = pd.read_csv(published / "results.csv").assign(commit="0ld", sited=True)
    table.to_csv(published / "results.csv", index=False)
    bench(path, [], tmp_path / "out", Wanted(add=(published,)), as_json=True)
    found = pd.read_csv(tmp_path / "out" / "results.csv")
    assert list(found["commit"] == "0ld") == [True, False]
    assert list(found["sited"]) == [True, False]
    assert provenance(collect(BenchStore(tmp_path / "out"))).startswith(
        "Trials were run by several versions of the code: 0ld (1 trial) and "
    )


def test_a_dry_run_tells_what_was_added(wardround: Wardround, suite: Write, here: list[str], tmp_path: Path) -> None:
    path = suite()
    wardround("bench", path, "--out", "first", "--only", "joint")
    code, _, err = wardround("bench", path, "--out", "out", "--add", "first")
    assert (code, len(here)) == (0, 2)
    assert "added: 1 trial of this suite, measured elsewhere: first" in err
    out = wardround("bench", path, "--out", "out", "--dry-run")[1]
    assert "added" in out
    code, out, _ = wardround("audit", "out")
    assert code == 0
    assert "measured elsewhere" in (tmp_path / "out" / "audit.json").read_text()


def test_trials_of_a_strategy_that_is_set_otherwise_there_are_left_out_and_it_is_said(
    wardround: Wardround, suite: Write, here: list[str], tmp_path: Path
) -> None:
    path = suite()
    wardround("bench", path, "--out", "first")
    published = publish(tmp_path / "first", tmp_path / "published", ("suite.yaml", "name: finetune", "name: fedavg"))
    here.clear()
    code, _, err = wardround("bench", path, "--out", "out", "--add", published)
    assert (code, len(here)) == (0, 1)
    assert "added: 1 trial of this suite" in err
    assert "; not of strategy finetune, set otherwise there" in err.replace("\n", "")


def test_trials_of_a_strategy_whose_defaults_have_changed_since_are_left_out(
    wardround: Wardround, suite: Write, here: list[str], tmp_path: Path
) -> None:
    path = suite(strategies=["finetune", "fedavg"], reference=None)
    wardround("bench", path, "--out", "first")
    published = publish(tmp_path / "first", tmp_path / "published", ("settings.json", '"cases"', '"uniform"'))
    here.clear()
    code, _, err = wardround("bench", path, "--out", "out", "--add", published)
    assert (code, len(here)) == (0, 1)
    assert "; not of strategy fedavg, set otherwise there" in err.replace("\n", "")
    (published / "settings.json").unlink()
    here.clear()
    code, _, err = wardround("bench", path, "--out", "older", "--add", published)
    assert (code, len(here)) == (0, 0), "older tables did not keep them"
    code, _, err = wardround("bench", path, "--out", "older", "--add", tmp_path / "first")
    assert (code, len(here)) == (0, 0), "newer tables stand beside older ones"


UNUSABLE = (
    (("suite.yaml", "strategies:", "  set: {stay: 1}\nstrategies:"), "as this suite sets"),
    (("suite.yaml", "schedules", "plans"), "suite.yaml: is not the suite of a bench"),
    (("settings.json", "{", "["), "settings.json: can't be read"),
    (("results.csv", "commit", "author"), "results.csv: lacks the column 'commit'"),
    (("matrix.csv", "dice", "jaccard"), "matrix.csv: lacks the column 'dice'"),
    (("results.csv", ",done,", ",failed,"), "none of its trials that are done is one of this suite"),
    (("matrix.csv", ",E,0,", ",E,2,"), r"tiny, finetune, A-B, 0 the sites arrive as .*: the schedule has changed"),
    (("results.csv", "A-B", "B-A"), "none of its trials that are done is one of this suite"),
)


def test_what_can_t_be_added_is_told_and_nothing_is_kept(suite: Write, here: list[str], tmp_path: Path) -> None:
    path = suite()
    bench(path, [], tmp_path / "first", Wanted(), as_json=True)
    here.clear()
    for number, (change, told) in enumerate(UNUSABLE):
        published = publish(tmp_path / "first", tmp_path / f"published-{number}", change)
        with pytest.raises(UserError, match=told):
            bench(path, [], tmp_path / "out", Wanted(add=(published,)), as_json=True)
        assert here == []
        assert not (tmp_path / "out").exists()


def test_tables_that_do_not_belong_together_or_are_not_there_are_told(
    suite: Write, here: list[str], tmp_path: Path
) -> None:
    path = suite()
    bench(path, [], tmp_path / "first", Wanted(), as_json=True)
    with pytest.raises(UserError, match=r"nowhere/results\.csv: can't be read as a table"):
        bench(path, [], tmp_path / "out", Wanted(add=(tmp_path / "nowhere",)), as_json=True)
    published = publish(tmp_path / "first", tmp_path / "published")
    matrix = pd.read_csv(published / "matrix.csv")
    matrix[matrix["trial"] == matrix["trial"].iloc[0]].to_csv(published / "matrix.csv", index=False)
    with pytest.raises(UserError, match="lacks the trial"):
        bench(path, [], tmp_path / "out", Wanted(add=(published,)), as_json=True)
