"""`wardround exposure`: every attack on every site with its controls, in the run folder and on the terminal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from simulator.exposure.findings import Exposure

Wardround = Callable[..., tuple[int, str, str]]

Run = Callable[..., Path]
Small = Callable[[str], dict[str, object]]

FEW = ("--replays", 8, "--control-steps", 2)


def attacks(found: Exposure, target: str = "released") -> list[tuple[str, str]]:
    return [(finding.site, finding.attack) for finding in found.findings if finding.target == target]


@pytest.mark.parametrize("name", ["smdr", pytest.param("smdr_onsite", marks=pytest.mark.slow)])
def test_a_generator_is_attacked_for_each_site(name: str, run_tiny: Run, small: Small, wardround: Wardround) -> None:
    folder = run_tiny(strategy=small(name))
    code, printed, _ = wardround("exposure", folder, *FEW, "--format", "json")
    assert code == 0
    found = Exposure.model_validate_json((folder / "exposure.json").read_text())
    assert json.loads(printed) == found.model_dump(mode="json")
    each = ["segmentation loss", "denoising loss", "SecMI", "copy test", "extraction"]
    sites = [(site, "site of replays") for site in "AB"]
    assert attacks(found) == [(site, attack) for site in "AB" for attack in each] + sites
    assert attacks(found, "next site's release") == [("A", "denoising loss"), ("A", "SecMI")]
    assert attacks(found, "over-trained control") == [("A", attack) for attack in each]
    assert attacks(found, "untrained control") == [*(("A", attack) for attack in each), ("all", "site of replays")]
    assert attacks(found, "real images control") == sites
    noise = next(row for row in found.findings if (row.site, row.attack) == ("all", "site of replays"))
    assert not noise.exposes
    assert "As it should be, nothing is found." in noise.sentence
    released = {finding.attack: finding.released for finding in found.findings if finding.target == "released"}
    assert released["SecMI"]
    assert released["segmentation loss"] == (name == "smdr_onsite")


def test_a_strategy_without_a_generator_has_its_segmenter_attacked(run_tiny: Run, wardround: Wardround) -> None:
    folder = run_tiny()
    code, printed, _ = wardround("exposure", folder, *FEW)
    assert code == 0
    assert "Site A: shown one patient" in printed
    found = Exposure.model_validate_json((folder / "exposure.json").read_text())
    assert {finding.attack for finding in found.findings} == {"segmentation loss"}
    assert any("cannot be resolved" in note for note in found.notes)


@pytest.mark.slow
def test_the_same_run_is_exposed_the_same(run_tiny: Run, small: Small, wardround: Wardround) -> None:
    folder = run_tiny(strategy=small("smdr"))
    wardround("exposure", folder, *FEW)
    before = (folder / "exposure.json").read_bytes()
    wardround("exposure", folder, *FEW)
    assert (folder / "exposure.json").read_bytes() == before


def test_a_run_that_is_not_done_is_turned_away(run_tiny: Run, wardround: Wardround) -> None:
    folder = run_tiny()
    (folder / "done").unlink()
    code, _, said = wardround("exposure", folder)
    assert code == 2
    assert "--resume" in said
    assert not (folder / "exposure.json").exists()
