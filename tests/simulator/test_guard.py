"""The guard against copies: a site does not release a generator that learnt its patients by heart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from simulator.loop import SitesFailed
from sites.gate import Code
from sites.ledger import read_rows
from sites.sources.phantom import Phantom, PhantomConfig
from strategies.common.segmenter import slices_of

Run = Callable[..., Path]
Small = Callable[[str], dict[str, object]]

STRONG = {"start": "random", "widths": [16, 32], "batch": 16, "learning_rate": 5e-3, "sampling_steps": 8}


def policy(folder: Path, most: float) -> str:
    path = folder / "guarded.yaml"
    path.write_text(yaml.safe_dump({"admit": ["prompt", "diffusion", "segmenter", "score"], "most_copied": most}))
    return str(path)


def assert_refused(run: Path, failed: SitesFailed) -> None:
    """The first site let nothing out but its scores, and said no more than the code."""
    assert [(failure.site, failure.code) for failure in failed.failures] == [("A", Code.COPIES)]
    rows = read_rows(run / "sites" / "A" / "ledger.jsonl")
    assert [row["code"] for row in rows if row["event"] == "refusal"] == ["COPIES"]
    assert not [row for row in rows if row["event"] == "release" and row["purpose"] == "learn"]


@pytest.mark.slow
def test_a_generator_that_learnt_its_patients_by_heart_is_refused(run_tiny: Run, tmp_path: Path) -> None:
    over_trained = {"name": "smdr", "shift": 0, "diffusion": {**STRONG, "steps": 350, "first_steps": 350}, "replays": 4}
    with pytest.raises(SitesFailed) as failed:
        run_tiny(strategy=over_trained, policy=policy(tmp_path, 0.5))
    assert_refused(tmp_path / "run", failed.value)


@pytest.mark.parametrize("name", ["smdr", "smdr_onsite"])
def test_replays_that_are_the_sites_own_images_are_refused(
    name: str, run_tiny: Run, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = Phantom("prostate", PhantomConfig(size=32, slices=1), 0).train("A", 0, 3)
    monkeypatch.setattr(f"strategies.{name}.sample", lambda *_: slices_of(cases))
    with pytest.raises(SitesFailed) as failed:
        run_tiny(strategy=small(name), policy=policy(tmp_path, 0.5))
    assert_refused(tmp_path / "run", failed.value)


@pytest.mark.parametrize("name", ["smdr", "smdr_onsite"])
def test_a_generator_that_learnt_little_passes(name: str, run_tiny: Run, small: Small, tmp_path: Path) -> None:
    enough = {"train": 20, "held_out": 1}
    assert (run_tiny(strategy=small(name), cases=enough, policy=policy(tmp_path, 0.2)) / "done").exists()


def test_what_holds_no_generator_passes(run_tiny: Run, tmp_path: Path) -> None:
    assert (run_tiny(policy=policy(tmp_path, 0.0)) / "done").exists()
