"""Exemplar buffers: never over their size, fair over sites or over slices, and the same again after a resume."""

from __future__ import annotations

import torch

from strategies.common.exemplars import Buffer, balanced_counts, padded, reservoir_share

SITES = ("A", "B", "C")


def rows(value: float, count: int) -> dict[str, torch.Tensor]:
    return {"images": torch.full((count, 1, 2, 2), value), "masks": torch.ones(count, 1, 2, 2, dtype=torch.uint8)}


def buffer(size: int) -> Buffer:
    return Buffer(rows(0.0, size), SITES)


def test_a_reservoir_takes_all_while_there_is_room() -> None:
    assert reservoir_share(seen=0, new=5, size=8) == 5
    assert reservoir_share(seen=3, new=5, size=8) == 5
    assert reservoir_share(seen=0, new=50, size=8) == 8


def test_a_reservoir_keeps_every_slice_with_the_same_probability() -> None:
    torch.manual_seed(0)
    shares = torch.tensor([float(reservoir_share(seen=60, new=20, size=16)) for _ in range(4000)])
    assert abs(shares.mean() - 16 * 20 / 80) < 0.1
    hypergeometric = 16 * 0.25 * 0.75 * (80 - 16) / (80 - 1)
    assert abs(shares.var() - hypergeometric) < 0.25


def test_greedy_balance_follows_the_sampler_of_gdumb() -> None:
    counts = balanced_counts([0, 0, 0], 0, 20, size=12)
    assert counts == [12, 0, 0]
    counts = balanced_counts(counts, 1, 20, size=12)
    assert counts == [6, 6, 0]
    assert balanced_counts(counts, 2, 20, size=12) == [4, 4, 4]
    assert balanced_counts(counts, 2, 2, size=12) == [5, 5, 2]
    assert balanced_counts([4, 4, 4], 1, 20, size=12) == [4, 4, 4]


def test_a_buffer_is_in_the_order_of_its_sites_and_padded_to_its_size() -> None:
    held = buffer(6)
    held.add("B", rows(2.0, 2))
    held.add("A", rows(1.0, 3))
    assert held.counts().tolist() == [3, 2, 0]
    assert held.padded()["images"][:, 0, 0, 0].tolist() == [1, 1, 1, 2, 2, 0]
    assert held.padded()["masks"].dtype == torch.uint8


def test_thinning_leaves_what_it_was_told_to() -> None:
    held = buffer(10)
    held.add("A", rows(1.0, 6))
    held.add("B", rows(2.0, 4))
    held.thin_sites([2, 9, 0])
    assert held.counts().tolist() == [2, 4, 0]
    held.thin(5)
    assert len(held) == 5
    held.thin(7)
    assert len(held) == 5


def test_a_buffer_comes_back_from_its_state() -> None:
    held, again = buffer(4), buffer(4)
    held.add("C", rows(3.0, 2))
    again.load_state_dict(held.state_dict())
    assert again.counts().tolist() == [0, 0, 2]
    assert torch.equal(again.rows()["images"], held.rows()["images"])


def test_padding_keeps_the_type() -> None:
    assert padded(torch.ones(2, 3, dtype=torch.uint8), 4).tolist() == [[1, 1, 1], [1, 1, 1], [0, 0, 0], [0, 0, 0]]
