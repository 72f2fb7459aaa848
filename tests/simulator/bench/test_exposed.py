"""What membership inference reached on the trials of a bench is read, averaged, and drawn against Dice."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from simulator.bench.exposed import exposures, strongest
from simulator.bench.figures import plates
from simulator.bench.results import EXPOSURE, Results
from simulator.report.ink import drawing, inline_svg

Wardround = Callable[..., tuple[int, str, str]]
FEW = ("--replays", 8, "--control-steps", 2)
WHERE = "fundus-phantom"


def attacked(results: Results, **aucs: list[tuple[str, str, float]]) -> Results:
    """Return results with (attack, site, AUC) on the first trials of each strategy, one after another."""
    rows = []
    for strategy, found in aucs.items():
        mine = (results.trials["strategy"] == strategy) & (results.trials["schedule"] == WHERE)
        trial = results.trials.loc[mine & (results.trials["status"] == "done"), "trial"].iloc[0]
        rows += [(trial, site, attack, auc) for attack, site, auc in found]
    return replace(results, exposure=pd.DataFrame(rows, columns=EXPOSURE))


def test_of_a_trial_the_attack_counts_that_reaches_most_on_average_over_sites(results: Results) -> None:
    found = attacked(
        results,
        finetune=[("loss", "A", 0.9), ("loss", "B", 0.7), ("SecMI", "A", 1.0), ("SecMI", "B", 0.4)],
        ewc=[("loss", "A", 0.5)],
    )
    aucs = strongest(found, WHERE)
    assert aucs["finetune"].mean == pytest.approx(0.8)
    assert aucs["ewc"].mean == 0.5
    assert (aucs["joint"].trials, strongest(found, "prostate-phantom")["finetune"].trials) == (0, 0)


def test_exposure_is_drawn_against_dice_for_those_that_were_attacked(results: Results) -> None:
    plate = exposures(attacked(results, finetune=[("loss", "A", 0.9)], ewc=[("loss", "A", 0.6)]), WHERE)
    assert plate is not None
    assert "most with finetune (AUC 0.90) and least with ewc (0.60)" in plate.finding
    with drawing():
        svg = inline_svg(plate.draw(), plate.name, plate.finding)
    assert ">finetune</text>" in svg
    assert ">joint</text>" not in svg


def test_without_an_attack_nothing_is_drawn(results: Results) -> None:
    assert exposures(results, WHERE) is None
    assert "exposure" not in {plate.name for plate in plates(results, WHERE, {})}


def test_every_trial_of_a_bench_is_attacked_once(
    wardround: Wardround, suite: Callable[..., Path], here: list[str], tmp_path: Path
) -> None:
    assert wardround("bench", suite(strategies=["finetune"], reference=None, seeds=2))[0] == 0
    folder = tmp_path / "benches" / "suite"
    code, out, err = wardround("exposure", folder, *FEW)
    assert code == 0
    assert "trial 2 of 2: tiny, finetune, A-B, seed 1" in err
    assert len(pd.read_csv(folder / "exposure.csv")) == 4
    before = (folder / "exposure.csv").read_bytes()
    code, out, err = wardround("exposure", folder, *FEW, "--format", "json")
    assert "trial" not in err
    assert json.loads(out)["auc"]["tiny"]["finetune"]["trials"] == 2
    assert (folder / "exposure.csv").read_bytes() == before


def test_a_bench_without_a_finished_trial_is_turned_away(
    wardround: Wardround, suite: Callable[..., Path], here: list[str], tmp_path: Path
) -> None:
    wardround("bench", suite(strategies=["finetune"], reference=None))
    folder = tmp_path / "benches" / "suite"
    for ending in folder.rglob("trial.json"):
        ending.unlink()
    code, _, said = wardround("exposure", folder, *FEW)
    assert (code, "no trial is done" in said) == (2, True)
