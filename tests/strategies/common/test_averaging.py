"""Averages of weights count each model by its share."""

from __future__ import annotations

import torch

from strategies.common.averaging import weighted_average


def test_shares_weigh_the_models() -> None:
    models = [{"w": torch.tensor([0.0, 4.0])}, {"w": torch.tensor([8.0, 0.0])}]
    assert weighted_average(models, [3, 1])["w"].tolist() == [2.0, 3.0]


def test_a_counter_is_averaged_and_rounded_and_keeps_its_type() -> None:
    averaged = weighted_average([{"n": torch.tensor(3)}, {"n": torch.tensor(6)}], [1, 1])["n"]
    assert averaged.dtype == torch.int64
    assert averaged.item() == 4


def test_one_model_is_returned_as_it_is() -> None:
    weights = {"w": torch.rand(100)}
    assert torch.equal(weighted_average([weights], [7])["w"], weights["w"])
