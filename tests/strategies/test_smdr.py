"""SMDR from the first site to the last: what leaves, what is kept, and what a site or a resumed server builds on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from simulator.store import Store
from sites.ledger import read_rows
from sites.stream import Shape
from strategies.common.modulation import ModulationConfig, PromptBook, learnt_prompts, make_replays
from strategies.setting import Budget, NetworkConfig, Setting

Run = Callable[..., Path]
Small = Callable[[str], dict[str, object]]

CONFIG = ModulationConfig.model_validate(
    {"diffusion": {"widths": [8, 16], "sampling_steps": 2}, "replays": 3, "retention": "frozen"}
)
SETTING = Setting(
    shape=Shape(channels=1, height=16, width=16, slices=1, structures=("gland",)),
    network=NetworkConfig(widths=(4, 8), residual_units=0),
    budget=Budget(iterations=2),
    augmentation="none",
    seed=0,
    sites=("A", "B"),
    most_cases=1,
)


def released(folder: Path, site: str) -> dict[str, int]:
    """The bytes of each field that a site released by learning, over the whole run."""
    rows = [row for row in read_rows(folder / "receipts.jsonl") if row["site"] == site and row["purpose"] == "learn"]
    return {row["field"]: row["bytes"] for row in rows}


@pytest.mark.parametrize("retention", ["frozen", "replay", "distill"])
@pytest.mark.parametrize("name", ["smdr", "smdr_onsite"])
def test_a_run_goes_through_and_only_declared_kinds_leave(
    name: str, retention: str, run_tiny: Run, small: Small
) -> None:
    arrivals: list[Any] = ["A", ["B", "C"], "A"]
    folder = run_tiny(strategy={**small(name), "retention": retention}, arrivals=arrivals)
    assert Store(folder).done
    kinds = {row["kind"] for row in read_rows(folder / "receipts.jsonl") if row["purpose"] == "learn"}
    assert kinds == {"prompt", "diffusion"} | ({"segmenter"} if name == "smdr_onsite" else set())
    frozen = retention == "frozen"
    assert ("diffusion" in released(folder, "A")) is True
    assert ("diffusion" in released(folder, "B")) is not frozen


def test_central_smdr_runs_under_the_strict_policy(run_tiny: Run, small: Small) -> None:
    assert Store(run_tiny(strategy=small("smdr"), policy="prompts-and-diffusion")).done


def test_a_book_comes_back_with_the_same_replays() -> None:
    book, again = PromptBook(CONFIG, SETTING), PromptBook(CONFIG, SETTING)
    for number, site in enumerate(SETTING.sites):
        prompt = {
            name: value + 0.1 * number
            for name, value in learnt_prompts(book.table(), torch.ones(2), SETTING)["A"].items()
        }
        book.add(site, prompt, {})
    again.load_state_dict(book.state_dict())
    assert again.learnt.tolist() == [1, 1]
    for site, domain in book.replays().items():
        assert torch.equal(domain.images, again.replays()[site].images)


def test_on_a_frozen_backbone_replays_of_earlier_sites_stay_the_same_bits() -> None:
    book = PromptBook(CONFIG, SETTING)
    prompt = learnt_prompts(book.table(), torch.ones(2), SETTING)["A"]
    book.add("A", prompt, {})
    before = book.replays()["A"].images.clone()
    book.add("B", {name: value + 1 for name, value in prompt.items()}, {})
    fresh = make_replays(CONFIG, SETTING, book.shared, book.prompts, CONFIG.replays)
    assert torch.equal(fresh["A"].images, before)
    assert not torch.equal(fresh["B"].images, before)


def test_only_sites_that_have_learnt_have_a_prompt() -> None:
    book = PromptBook(CONFIG, SETTING)
    assert learnt_prompts(book.table(), book.learnt, SETTING) == {}
    book.add("B", learnt_prompts(book.table(), torch.ones(2), SETTING)["B"], {})
    assert book.learnt.tolist() == [0, 1]
    assert list(learnt_prompts(book.table(), book.learnt, SETTING)) == ["B"]
