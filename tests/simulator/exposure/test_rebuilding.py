"""What an attacker rebuilds is attacked where it left, with its controls, and exactly as it left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from simulator.exposure.again import first_turns
from simulator.exposure.findings import Exposure, Finding
from simulator.store import Store
from sites.errors import UserError

Run = Callable[..., Path]
Wardround = Callable[..., tuple[int, str, str]]

LITTLE = ("--replays", 8, "--control-steps", 2, "--inversion-steps", 2)
ONE_STEP = {"iterations": 1, "batch": 3}


def exposed(folder: Path, wardround: Wardround) -> tuple[list[Finding], str]:
    code, printed, _ = wardround("exposure", folder, *LITTLE)
    assert code == 0
    found = Exposure.model_validate_json((folder / "exposure.json").read_text())
    return [finding for finding in found.findings if finding.attack != "segmentation loss"], printed


@pytest.mark.parametrize(
    ("strategy", "iterations"),
    [("scaffold", 3), ("fedavg", 1), pytest.param("smdr_onsite", 1, marks=pytest.mark.slow)],
    ids=str,
)
def test_gradients_and_single_steps_are_inverted(
    strategy: str, iterations: int, run_tiny: Run, small: Callable[[str], dict[str, object]], wardround: Wardround
) -> None:
    budget = {**ONE_STEP, "iterations": iterations}
    found, printed = exposed(run_tiny(strategy=small(strategy), budget=budget), wardround)
    inverted = [(one.target, one.site) for one in found if one.attack == "gradient inversion"]
    controls = [("one patient control", "A"), ("other patient control", "A")]
    assert inverted == [*controls, ("released", "A"), ("released", "B")]
    assert "Control, plain gradients of single patients of site A" in printed
    assert "on this machine" not in printed


@pytest.mark.parametrize("strategy", ["fedavg", "ewc"])
def test_what_holds_no_gradient_is_not_inverted(strategy: str, run_tiny: Run, wardround: Wardround) -> None:
    found, printed = exposed(run_tiny(strategy=strategy), wardround)
    assert found == []
    assert strategy == "ewc" or "updates of many gradient steps left" in printed


@pytest.mark.parametrize(("strategy", "iterations"), [("scaffold", 3), ("fedavg", 1)], ids=str)
def test_nothing_is_rebuilt_from_uploads_that_can_be_read_in_a_sum_alone(
    strategy: str, iterations: int, run_tiny: Run, tmp_path: Path, wardround: Wardround
) -> None:
    """The same runs are inverted above, where each upload can be read."""
    policy = tmp_path / "summed.yaml"
    admit = ["segmenter", "gradient", "count", "score", "key"]
    policy.write_text(yaml.safe_dump({"admit": admit, "secure_aggregation": {"least": 2}}))
    keys = {"strategy": strategy, "budget": {**ONE_STEP, "iterations": iterations}, "arrivals": [["A", "B"]]}
    folder = run_tiny(**keys, policy=str(policy))
    found, printed = exposed(folder, wardround)
    assert found == []
    assert "the server can read their sum over 2 sites" in printed
    attacked = Exposure.model_validate_json((folder / "exposure.json").read_text()).findings
    assert [(one.site, one.released) for one in attacked if one.target == "released"] == [("A", False), ("B", False)]
    with pytest.raises(UserError, match="can't learn again: BAD_REQUEST"):
        list(first_turns(Store(folder)))


def test_amplitudes_name_the_patients_they_are_of(run_tiny: Run, wardround: Wardround) -> None:
    found, printed = exposed(run_tiny(strategy={"name": "feddg", "spectra": 8}), wardround)
    attacks = {(one.attack, one.target, one.site) for one in found}
    assert ("amplitude reconstruction", "whole spectrum control", "A") in attacks
    assert {("amplitude reconstruction", "released", site) for site in "AB"} <= attacks
    match = [one for one in found if one.attack == "amplitude match"]
    assert [(one.target, one.value) for one in match[:2]] == [
        ("own amplitudes control", 1.0),
        ("other amplitudes control", 0.0),
    ]
    matched = match[2:]
    assert [(one.target, one.site) for one in matched] == [("released", "A"), ("released", "B")]
    assert all(one.value > 0.6 and one.chance == 0 and one.exposes for one in matched)
    assert "one whose amplitudes are there" in printed


def test_feddg_without_exchange_has_no_amplitudes_to_attack(run_tiny: Run, wardround: Wardround) -> None:
    assert exposed(run_tiny(strategy={"name": "feddg", "exchange": False}), wardround)[0] == []


def test_turns_done_again_release_the_same_bytes_and_leave_no_trace(run_tiny: Run) -> None:
    folder = run_tiny(strategy="scaffold", arrivals=[["A", "B"]], policy="default")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    turns = list(first_turns(Store(folder)))
    assert [(turn.site, turn.same) for turn in turns] == [("A", True), ("B", True)]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
