"""Intervals take the patient as the unit, and say nothing that so few patients can't show."""

from __future__ import annotations

import pytest
import torch

from simulator.exposure.statistics import Suspects, above, auc, by_patient, likeness, share, tpr_at_low_fpr


def suspects(shift: float, count: int = 20) -> Suspects:
    draws = torch.Generator().manual_seed(0)
    return Suspects(patients=shift + torch.randn(count, generator=draws), others=torch.randn(count, generator=draws))


def test_a_patients_images_count_once() -> None:
    assert by_patient(torch.tensor([1.0, 5.0, 3.0]), ["p", "q", "p"]).tolist() == [2.0, 5.0]


def test_an_attack_that_never_errs_has_an_area_of_one_and_a_blind_one_a_half() -> None:
    assert auc(suspects(20), 0) == (1, 1, 1)
    same = torch.ones(5)
    assert auc(Suspects(patients=same, others=same), 0) == (0.5, 0.5, 0.5)


def test_the_interval_holds_the_value_and_narrows_with_more_patients() -> None:
    few, many = auc(suspects(1), 0), auc(suspects(1, 200), 0)
    assert few.low < few.value < few.high
    assert many.high - many.low < 0.6 * (few.high - few.low)


def test_one_percent_needs_a_hundred_others() -> None:
    assert tpr_at_low_fpr(suspects(20, 99)) is None
    assert tpr_at_low_fpr(suspects(20, 100)) == 1


def test_none_found_is_not_proof_of_none() -> None:
    found = share(torch.zeros(20, dtype=torch.bool))
    assert found.value == found.low == 0
    assert found.high == pytest.approx(0.168, abs=0.001)


def test_the_interval_of_a_mean_holds_the_others_uncertainty() -> None:
    far, near = suspects(3), suspects(0)
    assert above(far.patients, far.others, 0).low > far.others.mean()
    assert above(near.patients, near.others, 0).low < near.others.mean()
    few = suspects(3, 4)
    wide, narrow = above(far.patients, few.others, 0), above(far.patients, far.others, 0)
    assert wide.high - wide.low > narrow.high - narrow.low


def test_brightness_and_contrast_play_no_part_in_likeness() -> None:
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(likeness(images, 0.3 * images + 0.1).diagonal(), torch.ones(2))
    assert likeness(images[:1], -images[:1]).item() == pytest.approx(-1)
