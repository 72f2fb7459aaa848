"""Which replays are kept: those that show whose they are."""

from __future__ import annotations

import pytest
import torch

from strategies.common.alignment import Domain
from strategies.common.recognition import most_recognised

MADE, SIZE = 40, 16


def bright(level: float, count: int = MADE, seed: int = 0) -> Domain:
    """Return noisy images of a brightness, each with a mask that tells its number."""
    grain = 0.1 * torch.rand(count, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    masks = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, SIZE, SIZE)
    return Domain(level + grain, masks)


def numbers(domain: Domain) -> list[int]:
    return domain.masks[:, 0, 0, 0].tolist()


def with_strays() -> dict[str, Domain]:
    """Return a dark and a bright site; every fifth of the dark one's is as bright as the other's."""
    dark = bright(0.2)
    dark.images[::5] += 0.5
    return {"A": dark, "B": bright(0.7, seed=1)}


def test_a_replay_that_looks_like_anothers_is_the_first_to_go() -> None:
    kept = most_recognised(with_strays(), 30, seed=0)
    assert not {number for number in numbers(kept["A"]) if number % 5 == 0}


def test_as_many_as_asked_are_kept_in_their_order_each_with_its_mask() -> None:
    replays = with_strays()
    for site, domain in most_recognised(replays, 30, seed=0).items():
        rows = numbers(domain)
        assert rows == sorted(set(rows))
        assert len(rows) == 30
        assert torch.equal(domain.images, replays[site].images[rows])


def test_the_same_seed_keeps_the_same() -> None:
    one, other = (most_recognised(with_strays(), 25, seed=3) for _ in range(2))
    assert {site: numbers(domain) for site, domain in one.items()} == {
        site: numbers(domain) for site, domain in other.items()
    }


def test_a_site_alone_keeps_its_first() -> None:
    assert numbers(most_recognised({"A": bright(0.2)}, 7, seed=0)["A"]) == list(range(7))


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_colour_alike(channels: int) -> None:
    replays = {
        site: Domain(domain.images.expand(-1, channels, -1, -1), domain.masks) for site, domain in with_strays().items()
    }
    assert {site: len(domain.images) for site, domain in most_recognised(replays, 12, seed=0).items()} == {
        "A": 12,
        "B": 12,
    }
