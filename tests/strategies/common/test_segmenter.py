"""The segmenter is the same for one seed, learns, and keeps to its budget."""

from __future__ import annotations

import pytest
import torch

from sites.stream import Shape
from strategies.common.segmenter import batches, blank_segmenter, build_segmenter, segmentation_loss, train_segmenter
from strategies.setting import Budget, NetworkConfig, Setting

SETTING = Setting(
    shape=Shape(channels=1, height=16, width=16, slices=1, structures=("square",)),
    network=NetworkConfig(widths=(4, 8), residual_units=0),
    budget=Budget(iterations=10, batch=8, learning_rate=1e-2),
    augmentation="none",
    seed=0,
    sites=("A",),
    most_cases=1,
)


def squares(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(count, 1, 16, 16, dtype=torch.uint8)
    for mask in masks:
        row, column = torch.randint(0, 10, (2,), generator=generator).tolist()
        mask[0, row : row + 6, column : column + 6] = 1
    return masks.float() * 0.6 + 0.2 + 0.02 * torch.rand(masks.shape, generator=generator), masks


def test_one_seed_builds_the_same_network_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, second = build_segmenter(SETTING).state_dict(), build_segmenter(SETTING).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_a_blank_holds_no_memory_and_has_the_networks_form() -> None:
    blank, real = blank_segmenter(SETTING), build_segmenter(SETTING).state_dict()
    assert {key: value.shape for key, value in blank.items()} == {key: value.shape for key, value in real.items()}
    assert {value.device.type for value in blank.values()} == {"meta"}


def test_training_lowers_the_loss() -> None:
    images, masks = squares(16)
    network = build_segmenter(SETTING)
    first = train_segmenter(network, SETTING, images, masks, iterations=1, seed=0)
    last = train_segmenter(network, SETTING, images, masks, iterations=60, seed=0)
    assert last < 0.5 * first


def test_structures_that_overlap_can_both_be_right() -> None:
    masks = torch.zeros(1, 2, 8, 8)
    masks[:, 0, 2:4, 2:4] = 1
    masks[:, 1, 1:6, 1:6] = 1
    assert segmentation_loss((masks - 0.5) * 40, masks) < 1e-3


def test_batches_go_through_all_rows_before_any_comes_again() -> None:
    drawn = list(batches(count=10, batch=5, iterations=4, seed=0))
    assert [len(rows) for rows in drawn] == [5, 5, 5, 5]
    for half in (drawn[:2], drawn[2:]):
        assert sorted(torch.cat(half).tolist()) == list(range(10))


def test_fewer_rows_than_a_batch_make_smaller_batches() -> None:
    assert [len(rows) for rows in batches(count=3, batch=16, iterations=2, seed=0)] == [3, 3]


@pytest.mark.parametrize(
    ("budget", "slices", "an_arrival", "a_round"),
    [
        (Budget(iterations=100), 80, 100, 100),
        (Budget(iterations=100, rounds=4), 80, 100, 25),
        (Budget(iterations=2, rounds=4), 80, 2, 1),
        (Budget(epochs=3, batch=16), 80, 15, 15),
        (Budget(epochs=3, batch=16, rounds=2), 81, 18, 9),
    ],
)
def test_a_budget_is_shared_out_over_the_rounds(budget: Budget, slices: int, an_arrival: int, a_round: int) -> None:
    assert budget.iterations_an_arrival(slices) == an_arrival
    assert budget.iterations_a_round(slices) == a_round
