"""What stays of a trial that is done: all that a command reads, or by the suite's wish the results alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from simulator.audit.benches import audit_bench
from simulator.audit.retention import kept_in
from simulator.bench.running import Wanted, bench
from simulator.bench.store import BenchStore
from simulator.store import Store
from sites.vault import versions_in

Write = Callable[..., Path]
Wardround = Callable[..., tuple[int, str, str]]

# A site that stays arrives at a second version of its vault, which holds its control variate.
STRATEGIES = [{"name": "scaffold", "set": {"stay": 1, "budget.rounds": 2}}]
TABLES = ("results.csv", "matrix.csv")


def run(suite: Write, folder: Path, **keys: object) -> Path:
    """Run a bench of one trial and return the trial's folder."""
    assert bench(suite(strategies=STRATEGIES, reference=None, **keys), [], folder, Wanted(), as_json=True) == 0
    store = BenchStore(folder)
    return store.trial_root(store.planned[0].trial)


def test_networks_stay_and_the_vaults_version_before_goes(suite: Write, here: list[str], tmp_path: Path) -> None:
    root = run(suite, tmp_path / "out")
    store = Store(root)
    assert sorted(store.predictors("A")) == [0, 1, 2]
    assert store.load(store.schedule().new_server())["serial"] > 0
    groups, older = kept_in(store.home("A").root / "vault")
    assert len(versions_in(store.home("A").root / "vault")) == 1
    assert [group.group for group in groups]
    assert older == 0


def test_results_alone_give_the_same_tables_report_and_audit(
    suite: Write, here: list[str], tmp_path: Path, wardround: Wardround
) -> None:
    whole = run(suite, tmp_path / "whole")
    root = run(suite, tmp_path / "out", keep="results")
    assert root.name == whole.name
    assert not (root / "predictors").exists()
    assert not (root / "checkpoint.safetensors").exists()
    for name in TABLES:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    with_networks, without = (audit_bench(tmp_path / name) for name in ("whole", "out"))
    assert without.verdict == "passed"
    assert without.compared == with_networks.compared
    for command in ("report", "audit"):
        assert wardround(command, root)[0] == 0
    here.clear()
    run(suite, tmp_path / "out", keep="results")
    assert here == []


def test_a_command_that_needs_the_networks_says_that_they_were_dropped(
    suite: Write, here: list[str], tmp_path: Path, wardround: Wardround
) -> None:
    root = run(suite, tmp_path / "out", keep="results")
    for command in ("exposure", "replay"):
        code, _, err = wardround(command, root)
        assert code == 2
        assert "this trial's networks were dropped when it was done, for its suite says `keep: results`" in err
    code, _, err = wardround("exposure", tmp_path / "out")
    assert (code, f"{root.name}: this trial's networks were dropped" in err.replace("\n", "")) == (2, True)


def test_a_bench_lets_go_of_networks_once_its_suite_asks_for_it(suite: Write, here: list[str], tmp_path: Path) -> None:
    assert (run(suite, tmp_path / "out") / "predictors").exists()
    assert not (run(suite, tmp_path / "out", keep="results") / "predictors").exists()
    assert len(here) == 1
