"""`wardround replay` of a bench measures each trial that makes replays once, and puts them into one table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

Wardround = Callable[..., tuple[int, str, str]]
Small = Callable[[str], dict[str, object]]


@pytest.mark.slow
def test_trials_with_replays_are_measured_once(
    wardround: Wardround, suite: Callable[..., Path], small: Small, here: list[str], tmp_path: Path
) -> None:
    strategies = ["finetune", {"name": "smdr", "settings": {k: v for k, v in small("smdr").items() if k != "name"}}]
    assert wardround("bench", suite(strategies=strategies, reference=None, seeds=3))[0] == 0
    folder = tmp_path / "benches" / "suite"
    code, out, err = wardround("replay", folder, "--count", 4)
    assert code == 0
    assert "smdr, A-B, seed 2" in err
    assert "±" in out, "three trials have an interval"
    assert "of 3" in out, "how many are told to lie nearer"
    table = pd.read_csv(folder / "fidelity.csv")
    assert table[["strategy", "seed", "site"]].to_numpy().tolist() == [
        ["smdr", seed, site] for seed in range(3) for site in "AB"
    ]
    code, out, err = wardround("replay", folder, "--count", 4, "--format", "json")
    assert "smdr" not in err
    assert [row["dice"] for row in json.loads(out)] == pytest.approx(table["dice"].tolist())
    for path in folder.glob("trials/*/replays/fidelity.csv"):
        path.write_text(pd.read_csv(path).drop(columns=["nearer", "nearer_low", "nearer_high"]).to_csv(index=False))
    assert wardround("replay", folder)[0] == 0, "a measure that an earlier version did not take is left empty"
    assert pd.read_csv(folder / "fidelity.csv")["nearer"].isna().all()


def test_a_bench_without_replays_is_told_so(
    wardround: Wardround, suite: Callable[..., Path], here: list[str], tmp_path: Path
) -> None:
    assert wardround("bench", suite(strategies=["finetune"], reference=None))[0] == 0
    code, _, said = wardround("replay", tmp_path / "benches" / "suite")
    assert (code, "no trial that is done makes replays" in said) == (2, True)
