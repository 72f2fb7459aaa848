"""Rehearsal: half of each batch is the site's, half replays, and what is held of these counts beside its own loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from sites.stream import Arrival
from strategies.common.alignment import Batch, Domain
from strategies.common.rehearsal import by_its_masks, halves, train_rehearsing
from strategies.common.segmenter import build_segmenter, segmentation_loss, slices_of, train_on_arrival
from strategies.setting import Budget, Setting

Disc = Callable[..., Arrival]


def replays_of(*values: float) -> list[Domain]:
    return [Domain(torch.full((4, 1, 16, 16), value), torch.ones(4, 1, 16, 16, dtype=torch.uint8)) for value in values]


def test_halves_are_of_one_size_and_replays_come_from_every_site(plain: Setting, disc: Disc) -> None:
    setting = replace(plain, budget=Budget(iterations=8, batch=4))
    batches = list(halves(setting, disc(), replays_of(0.0, 1.0), 8))
    assert [(len(now.images), len(before.images)) for now, before in batches] == [(2, 2)] * 8
    own = slices_of(disc().cases)[0]
    assert all(any(torch.equal(image, one) for one in own) for now, _ in batches for image in now.images)
    assert {float(image.mean()) for _, before in batches for image in before.images} == {0.0, 1.0}


def test_without_replays_it_is_fine_tuning_and_nothing_is_held(plain: Setting, disc: Disc) -> None:
    def never(logits: Tensor, batch: Batch) -> Tensor:
        raise AssertionError("there is nothing to hold")

    weights = build_segmenter(plain).state_dict()
    found, plainly = train_rehearsing(weights, plain, disc(), [], never), train_on_arrival(weights, plain, disc())
    assert all(torch.equal(found[name], value) for name, value in plainly.items())


def test_what_is_held_sees_the_logits_of_the_replays(plain: Setting, disc: Disc) -> None:
    seen = []

    def held(logits: Tensor, batch: Batch) -> Tensor:
        seen.append((logits.shape, batch))
        return 0.0 * logits.sum()

    train_rehearsing(build_segmenter(plain).state_dict(), plain, disc(), replays_of(0.25), held)
    assert [shape for shape, _ in seen] == [(2, 1, 16, 16)] * 3
    assert all(bool((batch.images == 0.25).all()) for _, batch in seen)


def test_replays_count_by_their_masks() -> None:
    logits, batch = torch.randn(2, 1, 4, 4), Batch(torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4))
    torch.testing.assert_close(by_its_masks(logits, batch), segmentation_loss(logits, batch.masks))
