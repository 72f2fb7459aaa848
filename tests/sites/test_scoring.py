"""Scores are what a person would measure with a ruler: overlap, and millimetres between surfaces."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from sites.scoring import METRICS, Scores, blank_scores, predict, score_case, score_cases
from sites.stream import Case, Shape
from sites.wire import Kind, kinds_of, manifest_of

SHAPE = Shape(channels=1, height=6, width=8, slices=3, structures=("gland", "zone"))

# Slices are 4 mm apart, rows 2 mm, columns 3 mm.
SPACING = (4.0, 2.0, 3.0)


def mask(slices: int, *voxels: tuple[int, int, int], height: int = 6, width: int = 16) -> Tensor:
    """Return uint8 [slices, 1, height, width] with ones at (slice, row, column)."""
    found = torch.zeros(slices, 1, height, width, dtype=torch.uint8)
    for z, y, x in voxels:
        found[z, 0, y, x] = 1
    return found


def scored(prediction: Tensor, reference: Tensor, spacing: tuple[float, float, float] = SPACING) -> list[float]:
    (row,) = score_case(prediction, reference, spacing)
    return row.tolist()


class Threshold(nn.Module):
    """Finds the first structure where the image is above a half, the second where it is below."""

    def forward(self, images: Tensor) -> Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        return torch.cat([images - 0.5, 0.5 - images], dim=1)


def case(patient: str, level: float) -> Case:
    """Return a case whose reference is that all belongs to the first structure and nothing to the second."""
    masks = torch.stack([torch.ones(3, 6, 8), torch.zeros(3, 6, 8)], dim=1).to(torch.uint8)
    return Case(patient=patient, images=torch.full((3, 1, 6, 8), level), masks=masks, spacing=SPACING)


@pytest.mark.parametrize("slices", [1, 3])
def test_the_same_mask_scores_one_and_is_nowhere_off(slices: int) -> None:
    blob = mask(slices)
    blob[:, :, 1:5, 2:9] = 1
    assert scored(blob, blob) == [1.0, 0.0, 0.0]


def test_dice_is_twice_the_overlap_over_the_sum() -> None:
    reference = mask(1, (0, 1, 1), (0, 1, 2), (0, 2, 1), (0, 2, 2))
    prediction = mask(1, (0, 1, 1), (0, 1, 2))
    assert scored(prediction, reference)[0] == pytest.approx(4 / 6)


def test_dice_of_a_volume_is_taken_over_all_its_slices() -> None:
    reference = mask(3, (0, 1, 1), (1, 1, 1), (2, 1, 1))
    prediction = mask(3, (0, 1, 1), (1, 4, 4))
    assert scored(prediction, reference)[0] == pytest.approx(2 / 5)


def test_distance_in_a_slice_is_in_millimetres_of_rows_and_columns() -> None:
    # Two rows of 2 mm and one column of 3 mm apart; then a row and two columns.
    assert scored(mask(1, (0, 1, 1)), mask(1, (0, 3, 2))) == [0.0, 5.0, 5.0]
    assert scored(mask(1, (0, 1, 1)), mask(1, (0, 2, 3))) == [0.0, *[pytest.approx(math.hypot(2, 6))] * 2]


def test_distance_in_a_volume_counts_the_gap_between_slices() -> None:
    assert scored(mask(3, (0, 1, 1)), mask(3, (1, 1, 2))) == [0.0, 5.0, 5.0]
    assert scored(mask(3, (0, 1, 1)), mask(3, (2, 1, 3))) == [0.0, 10.0, 10.0]


def test_distance_does_not_stop_at_an_empty_slice() -> None:
    assert scored(mask(3, (0, 1, 1)), mask(3, (2, 1, 1))) == [0.0, 8.0, 8.0]


def test_the_distances_of_a_lone_false_spot_ten_columns_off() -> None:
    spot, extra = (0, 2, 2), (0, 2, 12)
    dice, hd95, asd = scored(mask(1, spot, extra), mask(1, spot))
    assert dice == pytest.approx(2 / 3)
    assert hd95 == pytest.approx(0.95 * 30)  # the 95th percentile of 0 and 30 mm
    assert asd == pytest.approx(30 / 3)  # the mean of 0 and 30 mm one way and 0 mm the other
    assert scored(mask(1, spot), mask(1, spot, extra)) == pytest.approx([dice, hd95, asd])


def test_distance_is_between_surfaces_and_not_between_insides() -> None:
    # Squares of 3 x 3 (a ring of 8 round an inner pixel), one a column of 3 mm further. From either ring 4 pixels
    # lie on the other, one is a row of 2 mm off, and three are a column off.
    reference, prediction = mask(1), mask(1)
    reference[0, 0, 1:4, 1:4] = 1
    prediction[0, 0, 1:4, 2:5] = 1
    assert scored(prediction, reference) == pytest.approx([2 * 6 / 18, 3.0, (2 + 3 * 3) / 8])


def test_a_structure_at_the_edge_of_the_image_has_its_surface_there() -> None:
    assert scored(mask(1, (0, 0, 0)), mask(1, (0, 0, 1))) == [0.0, 3.0, 3.0]


@pytest.mark.parametrize(
    ("slices", "height", "width", "spacing", "diagonal"),
    [(1, 30, 40, (9.0, 1.0, 1.0), 50.0), (3, 4, 3, (4.0, 1.0, 1.0), 13.0), (1, 6, 16, (9.0, 2.0, 0.3125), 13.0)],
)
def test_where_one_mask_is_empty_the_distance_is_the_diagonal(
    slices: int, height: int, width: int, spacing: tuple[float, float, float], diagonal: float
) -> None:
    empty, spot = mask(slices, height=height, width=width), mask(slices, (0, 1, 1), height=height, width=width)
    assert scored(empty, spot, spacing) == [0.0, diagonal, diagonal]
    assert scored(spot, empty, spacing) == [0.0, diagonal, diagonal]


@pytest.mark.parametrize("slices", [1, 3])
def test_where_both_masks_are_empty_nothing_is_wrong(slices: int) -> None:
    assert scored(mask(slices), mask(slices)) == [1.0, 0.0, 0.0]


def test_structures_are_scored_each_for_itself_and_in_their_order() -> None:
    spot, off, none = mask(3, (0, 1, 1)), mask(3, (1, 1, 2)), mask(3)
    reference, prediction = torch.cat([spot, spot, none], dim=1), torch.cat([off, spot, none], dim=1)
    assert score_case(prediction, reference, SPACING).tolist() == [[0.0, 5.0, 5.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]


def test_a_mask_is_where_logits_are_above_zero_and_the_network_learns_nothing_from_it() -> None:
    network = nn.Sequential(nn.BatchNorm2d(1, eps=0.0), Threshold()).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found = predict(network, torch.tensor([0.25, 0.5, 0.75]).reshape(1, 1, 1, 3))
    assert found.dtype == torch.uint8
    assert found.tolist() == [[[[0, 0, 1]], [[1, 0, 0]]]]
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_cases_are_scored_in_their_order_and_the_rest_is_blank() -> None:
    scores = score_cases(Threshold(), [case("right", 0.9), case("wrong", 0.1)], SHAPE, most=4)
    diagonal = math.sqrt((3 * 4) ** 2 + (6 * 2) ** 2 + (8 * 3) ** 2)
    assert scores.values[0].tolist() == [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    assert scores.values[1].tolist() == [pytest.approx([0.0, diagonal, diagonal])] * 2
    assert scores.values[2:].abs().sum() == 0
    assert scores.held.tolist() == [2]


@pytest.mark.parametrize("held", [0, 1, 3])
def test_the_form_of_scores_does_not_tell_how_many_cases_a_site_has(held: int) -> None:
    scores = score_cases(Threshold(), [case("any", 0.9)] * held, SHAPE, most=3)
    assert manifest_of(scores) == manifest_of(blank_scores(SHAPE, 3))
    assert scores.held.tolist() == [held]


def test_scores_leave_as_scores_and_hold_no_patient() -> None:
    assert METRICS == ("dice", "hd95", "asd")
    assert kinds_of(Scores) == {"values": Kind.SCORE, "held": Kind.SCORE}
    assert [(leaf.key, leaf.dtype, leaf.shape) for leaf in manifest_of(blank_scores(SHAPE, 5))] == [
        ("values", "float32", (5, 2, 3)),
        ("held", "int64", (1,)),
    ]
