"""Golden figures: what counts as a deviation, on hand-made scores."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from simulator.bench.checking import EXACT, deviations, freeze, read_golden
from simulator.bench.collecting import SCORE_COLUMNS
from simulator.bench.results import Results
from sites.errors import ConfigError


def results(**changes: object) -> Results:
    """Two trials; `changes` are of the second one."""
    row = dict.fromkeys(SCORE_COLUMNS, 0.5) | dict.fromkeys(EXACT, 100)
    row |= {"schedule": "s", "strategy": "a", "order": "A-B", "seed": 0, "trial": "x"}
    row |= {"status": "done", "reason": "", "kinds_up": "segmenter"}
    empty = pd.DataFrame()
    return Results(
        suite="hand-made",
        description="",
        reference=None,
        strategies=("a",),
        schedules=("s",),
        trials=pd.DataFrame([row, {**row, "seed": 1, "trial": "y", **changes}]),
        matrix=empty,
        diagnostics=empty,
        times=empty,
        machine={},
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, []),
        ({"dice_accuracy": 0.51}, []),
        ({"dice_accuracy": 0.53}, ["s, a, A-B, seed 1: dice_accuracy: 0.53, not 0.5 within 0.02"]),
        ({"hd95_unseen": 2.4}, []),
        ({"hd95_unseen": 2.6}, ["s, a, A-B, seed 1: hd95_unseen: 2.6, not 0.5 within 2"]),
        ({"bytes_up": 101}, ["s, a, A-B, seed 1: bytes_up: 101, not 100 within 0"]),
        ({"kinds_up": "image"}, ["s, a, A-B, seed 1: kinds_up: image, not segmenter"]),
        ({"dice_unseen": float("nan")}, ["s, a, A-B, seed 1: dice_unseen: None, not 0.5"]),
        ({"status": "failed", "reason": "it broke"}, ["s, a, A-B, seed 1: failed it broke"]),
        (
            {"seed": 2},
            ["s, a, A-B, seed 2: is not in the golden figures", "s, a, A-B, seed 1: is not in this suite"],
        ),
    ],
)
def test_every_deviation_is_named(changes: dict[str, object], told: list[str], tmp_path: Path) -> None:
    freeze(results(), tmp_path / "golden.json")
    found = deviations(results(**changes), read_golden(tmp_path / "golden.json"), {"x", "y"})
    assert [str(deviation) for deviation in found] == told


def test_only_chosen_trials_are_held_against_them(tmp_path: Path) -> None:
    freeze(results(), tmp_path / "golden.json")
    assert deviations(results(dice_accuracy=0.9), read_golden(tmp_path / "golden.json"), {"x"}) == []


def test_a_file_that_holds_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('{"suite": 3}')
    with pytest.raises(ConfigError, match="holds no golden figures"):
        read_golden(tmp_path / "mine.json")
