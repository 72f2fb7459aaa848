"""The copy test finds copies, leaves other patients of the same site alone, and does not mind contrast."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sites.copying import CopyTest
from sites.gate import Code, Gate, Refused
from sites.ledger import Ledger
from sites.policy import SitePolicy
from sites.sources.phantom import Phantom, PhantomConfig


@cache
def images(split: str, count: int) -> Tensor:
    phantom = Phantom("prostate", PhantomConfig(size=32, slices=1), 0)
    cases = phantom.held_out("A", count) if split == "held-out" else phantom.train("A", int(split), count)
    return torch.cat([case.images for case in cases])


TRAINED, HELD_OUT, FRESH = images("0", 20), images("held-out", 20), images("100", 20)


@pytest.mark.parametrize("made", [TRAINED, 0.2 + 0.6 * TRAINED, (TRAINED + 0.02 * torch.randn_like(TRAINED))])
def test_copies_are_found_at_another_contrast_and_under_noise(made: Tensor) -> None:
    copied = CopyTest(TRAINED, HELD_OUT).copied(made[:5])
    assert copied[:5].all()
    assert copied[5:].float().mean() <= 0.2


def test_a_copy_that_was_moved_is_found() -> None:
    moved = torch.nn.functional.pad(TRAINED, (2, 0, 0, 1), mode="replicate")[..., 1:, :32]
    copied = CopyTest(TRAINED, HELD_OUT).copied(moved[:5])
    assert copied[:5].all()
    assert copied[5:].float().mean() <= 0.2


def test_other_patients_of_the_site_are_no_copies() -> None:
    test = CopyTest(TRAINED, HELD_OUT)
    assert test.copied(FRESH).float().mean() <= 0.2
    assert test.copied_held_out(FRESH).float().mean() <= 0.2


def test_held_out_images_count_as_copied_where_they_are_shown() -> None:
    assert CopyTest(TRAINED, HELD_OUT).copied_held_out(HELD_OUT).all()


def gate(folder: Path, most: float | None) -> Gate:
    return Gate(SitePolicy(admit=(), most_copied=most), Ledger(folder / "ledger.jsonl"))


def test_the_gate_refuses_copies_and_lets_other_images_pass(tmp_path: Path) -> None:
    guarded = gate(tmp_path, 0.2)
    guarded.guard(FRESH, TRAINED, HELD_OUT)
    with pytest.raises(Refused) as refusal:
        guarded.guard(TRAINED, TRAINED, HELD_OUT)
    assert refusal.value.code is Code.COPIES


def test_a_policy_that_does_not_ask_looks_at_nothing(tmp_path: Path) -> None:
    gate(tmp_path, None).guard(TRAINED, TRAINED, HELD_OUT)
