"""`wardround replay`: pictures and a table in the run folder, and a clear answer where there is nothing to replay."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image
from rich.console import Console

from simulator import replaying
from simulator.fidelity import Fidelity, SitePictures
from simulator.replaying import fidelity_table, replay, write_replays
from simulator.store import Store
from sites.errors import UserError
from sites.sources.brain import Brain
from strategies.common.segmenter import slices_of
from tests.simulator.counted import Counted

Run = Callable[..., Path]
Small = Callable[[str], dict[str, object]]


@pytest.mark.parametrize("name", ["smdr", pytest.param("smdr_onsite", marks=pytest.mark.slow)])
def test_a_run_has_a_grid_for_each_past_site_and_a_table(
    name: str, run_tiny: Run, small: Small, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_tiny(strategy=small(name))
    replay(folder, 4, None, as_json=True)
    assert sorted(path.name for path in (folder / "replays").iterdir()) == ["A.png", "B.png", "all.png", "fidelity.csv"]
    with Image.open(folder / "replays" / "all.png") as picture:
        assert picture.size == (954, 360)
    table = pd.read_csv(folder / "replays" / "fidelity.csv")
    assert list(table["site"]) == ["A", "B"]
    assert list(table["replays"]) == [4, 4]
    assert table[["hits", "real_hits", "painted_hits", "dice", "real_dice", "painted_dice"]].stack().between(0, 1).all()
    assert (table["nearest_low"] <= table["nearest_high"]).all()
    assert (table["nearer_low"] <= table["nearer_high"]).all()


@pytest.mark.parametrize(("held_out", "patients"), [(None, 1), (5, 5)])
def test_replays_are_judged_by_the_cases_that_the_run_scores_or_by_as_many_as_asked(
    held_out: int | None, patients: int, run_tiny: Run, small: Small
) -> None:
    folder = run_tiny(strategy=small("smdr"))
    replay(folder, 3, held_out, as_json=True)
    assert list(pd.read_csv(folder / "replays" / "fidelity.csv")["patients"]) == [patients, patients]


def test_classifiers_are_shown_what_other_sites_hold_where_the_source_can_show_it(
    run_tiny: Run, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Mapping[str, SitePictures]] = []
    monkeypatch.setattr(replaying, "measure", lambda sites, *_: measured.append(sites) or [])
    head = {"task": "brain", "source": {"kind": "brain", "size": 32, "slices": 2}}
    stores = [
        Store(run_tiny(name, strategy=small("smdr"), **keys)) for name, keys in {"one": {}, "other": head}.items()
    ]
    for store in stores:
        write_replays(store, 3, None, Counted())
    phantom, brain = measured
    assert phantom["B"].rescanned is None
    source = stores[1].schedule().source
    assert isinstance(source, Brain)
    held = len(brain["A"].trained.images) // 2
    assert brain["B"].rescanned is not None
    assert torch.equal(brain["B"].rescanned, slices_of(source.rescan("B", "A", 0, held))[0])


def test_a_generator_that_makes_both_at_once_is_not_asked_for_images_of_masks(run_tiny: Run, small: Small) -> None:
    settings = small("smdr")
    folder = run_tiny(strategy=settings | {"diffusion": {**settings["diffusion"], "order": "joint"}})
    replay(folder, 3, None, as_json=True)
    table = pd.read_csv(folder / "replays" / "fidelity.csv")
    assert table[["painted_hits", "painted_dice", "painted_nearer"]].isna().all(axis=None)


def test_80_columns_hold_the_table() -> None:
    wide: dict[str, Any] = {field.name: 1.0 for field in fields(Fidelity)}
    said = io.StringIO()
    row = Fidelity(**wide | {"site": "north", "replays": 128, "dice": 0.9, "real_dice": 0.9})
    Console(file=said, width=80).print(fidelity_table([row]))
    assert "1.00 (1.00)  .900 (.900)  1.000   1.00     1.00    1.00  1.00\N{EN DASH}1.00   1.00" in said.getvalue()


def test_pictures_in_colour_with_two_structures(run_tiny: Run, small: Small) -> None:
    folder = run_tiny(task="fundus", strategy=small("smdr"))
    replay(folder, 3, None, as_json=False)
    with Image.open(folder / "replays" / "A.png") as picture:
        assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 500


def test_progress_says_what_is_done_and_counts_to_its_end(run_tiny: Run, small: Small) -> None:
    progress = Counted()
    write_replays(Store(run_tiny(strategy=small("smdr"))), 3, None, progress)
    assert progress.count == progress.total == len(progress.said) - 1
    assert progress.said[0] == "making replays"
    assert progress.said[-1] == "judging replays of B"


@pytest.mark.slow
def test_the_same_run_replays_the_same_on_any_number_of_threads(run_tiny: Run, small: Small) -> None:
    folder, threads = run_tiny(strategy=small("smdr")), torch.get_num_threads()
    found = []
    for number in (1, 2):
        torch.set_num_threads(number)
        try:
            replay(folder, 3, None, as_json=False)
            assert torch.get_num_threads() == number
        finally:
            torch.set_num_threads(threads)
        found.append({path.name: path.read_bytes() for path in (folder / "replays").iterdir()})
    assert found[0] == found[1]


def test_a_strategy_without_replays_says_so(run_tiny: Run) -> None:
    with pytest.raises(UserError, match="'finetune' makes none"):
        replay(run_tiny(), 4, None, as_json=False)
