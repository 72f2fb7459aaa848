"""SMDR from the first site to the last: what leaves, what is kept, and what a site or a resumed server builds on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from simulator.store import Store
from sites.ledger import read_rows
from sites.stream import Shape
from strategies.common.modulation import ModulationConfig, blank_weights, prompt_start
from strategies.setting import Budget, NetworkConfig, Setting

Run = Callable[..., Path]
Small = Callable[[str], dict[str, object]]

SLOW = pytest.mark.slow
WAYS = ("own", "adapter", "frozen", "replay", "distill")
CONFIG = ModulationConfig.model_validate(
    {"diffusion": {"start": "random", "widths": [8, 16], "sampling_steps": 2}, "replays": 3, "retention": "frozen"}
)
SETTING = Setting(
    shape=Shape(channels=1, height=16, width=16, slices=1, structures=("gland",)),
    network=NetworkConfig(widths=(4, 8), residual_units=0),
    budget=Budget(iterations=2),
    augmentation="none",
    seed=0,
    sites=("A", "B", "C"),
    most_cases=1,
)


def released(folder: Path, site: str) -> dict[str, int]:
    """The bytes of each field that a site released by learning, over the whole run."""
    rows = [row for row in read_rows(folder / "receipts.jsonl") if row["site"] == site and row["purpose"] == "learn"]
    return {row["field"]: row["bytes"] for row in rows}


@pytest.mark.parametrize("retention", ["own", *(pytest.param(name, marks=SLOW) for name in WAYS[1:])])
@pytest.mark.parametrize("name", ["smdr", "smdr_onsite"])
def test_a_run_goes_through_and_only_declared_kinds_leave(
    name: str, retention: str, run_tiny: Run, small: Small
) -> None:
    arrivals: list[Any] = ["A", ["B", "C"], "A"]
    folder = run_tiny(strategy={**small(name), "retention": retention, "virtual": 4}, arrivals=arrivals)
    assert Store(folder).done
    kinds = {row["kind"] for row in read_rows(folder / "receipts.jsonl") if row["purpose"] == "learn"}
    assert kinds == {"prompt", "diffusion"} | ({"segmenter"} if name == "smdr_onsite" else set())
    assert "diffusion" in released(folder, "A")
    assert ("diffusion" in released(folder, "B")) is (retention in ("own", "replay", "distill"))


@pytest.mark.parametrize(
    "setting",
    [
        {"consistency": 1.0, "reading": 2},
        {"masks": "segmented"},
        {"calibration": 2},
        {"masks": "shared"},
    ],
)
@pytest.mark.parametrize("name", ["smdr", pytest.param("smdr_onsite", marks=SLOW)])
def test_a_switch_changes_the_result_and_nothing_that_leaves(
    name: str, setting: dict[str, Any], run_tiny: Run, small: Small
) -> None:
    folders = [
        run_tiny(run, strategy={**small(name), **add}, arrivals=["A", "B", "C"])
        for run, add in (("plain", {}), ("switched", setting))
    ]
    plain, switched = ([released(folder, site) for site in "ABC"] for folder in folders)
    assert plain == switched
    before, after = (Store(folder).predictors("A")[3] for folder in folders)
    assert any(not torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("retention", ["adapter", "frozen"])
def test_from_the_shipped_backbone_nothing_but_prompts_leaves(retention: str, run_tiny: Run, small: Small) -> None:
    brief = {"steps": 1, "batch": 2, "sampling_steps": 2}
    folder = run_tiny(strategy={**small("smdr"), "diffusion": brief, "retention": retention})
    assert set(released(folder, "A")) == set(released(folder, "B")) == {"prompt"}


def test_central_smdr_runs_under_the_strict_policy(run_tiny: Run, small: Small) -> None:
    assert Store(run_tiny(strategy=small("smdr"), policy="prompts-and-diffusion")).done


def test_a_run_keeps_the_cosines_of_its_alignment_and_the_drift_of_its_prompts(run_tiny: Run, small: Small) -> None:
    folder = run_tiny(strategy={**small("smdr"), "retention": "replay"}, arrivals=["A", "B", "C"])
    kept = pd.DataFrame(Store(folder).diagnostics())
    counts = kept.groupby(["name", "step"]).size()
    aligned = counts["cosine_arbitrary"].add(counts["cosine_orientational"], fill_value=0)
    assert aligned[[2, 3]].tolist() == [3, 3], "every iteration aligns, by one term or the other"
    assert 1 not in counts["cosine_orientational"]
    assert counts["drift"].to_dict() == {2: 1, 3: 2}
    assert kept[kept["name"] != "drift"]["value"].between(-1, 1).all()
    assert (kept[kept["name"] == "drift"]["value"] > 0).all()


def test_on_site_only_the_drift_is_known_at_the_server(run_tiny: Run, small: Small) -> None:
    kept = Store(run_tiny(strategy=small("smdr_onsite"))).diagnostics()
    assert [(row["name"], row["value"]) for row in kept] == [("drift", 0.0)], "what a site owns no later one moves"


@pytest.mark.parametrize("other", [{"retention": "replay"}, {"diffusion": {"order": "joint"}}])
def test_calibration_where_it_would_do_harm_or_nothing_is_refused(other: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="calibration: needs"):
        ModulationConfig.model_validate({"calibration": 8, **other})


def test_masks_that_are_not_made_first_are_not_shared() -> None:
    with pytest.raises(ValueError, match="masks: shared needs"):
        ModulationConfig.model_validate({"masks": "shared", "diffusion": {"order": "joint"}})


@pytest.mark.parametrize(("site", "whose"), [("A", 1.0), ("C", 2.0)])
def test_a_prompt_begins_as_the_sites_own_or_as_that_of_the_site_before(site: str, whose: float) -> None:
    blank, _ = blank_weights(CONFIG, SETTING)
    known = {
        other: {name: torch.full(value.shape, height) for name, value in blank.items()}
        for other, height in (("A", 1.0), ("B", 2.0))
    }
    begun = prompt_start(CONFIG, SETTING, known, site)
    assert set(begun) == {f"prompt/{name}" for name in blank}
    assert all((value == whose).all() for value in begun.values())
