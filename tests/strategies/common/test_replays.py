"""Whose masks a replay has, and whose look."""

from __future__ import annotations

import pytest
import torch

from sites.seeds import seed_of
from strategies import State
from strategies.common.alignment import Domain
from strategies.common.denoising import paint, sample_masks
from strategies.common.modulation import ModulationConfig, new_generator
from strategies.common.replays import CHUNK, Made, make_replays
from strategies.common.retention import put
from strategies.setting import Setting

COUNT = 5
SHARED = {"masks": "shared"}


def config(**changed: object) -> ModulationConfig:
    tiny = {"start": "random", "widths": [8, 16], "sampling_steps": 4}
    return ModulationConfig.model_validate({"diffusion": tiny, **changed})


def weights(setting: Setting, shifts: dict[str, float]) -> dict[str, State]:
    fresh = new_generator(config(), setting).state_dict()
    return {site: {name: value + shift for name, value in fresh.items()} for site, shift in shifts.items()}


def made(setting: Setting, changed: dict[str, object], **shifts: float) -> dict[str, Domain]:
    return make_replays(config(**changed), setting, weights(setting, shifts), COUNT)


def same(one: Domain, other: Domain) -> bool:
    return torch.equal(one.images, other.images) and torch.equal(one.masks, other.masks)


def drawn_for(setting: Setting, look: str, other: str, **shifts: float) -> Domain:
    """Return a chunk of images with a site's look for another's masks, made by hand."""
    own, generator = weights(setting, shifts), new_generator(config(), setting)
    seeds = [seed_of(setting.seed, part, look, other, 0) for part in ("borrowed masks", "painting")]
    masks = sample_masks(put(generator, own[other]), CHUNK, seeds[0])
    return Domain(*paint(put(generator, own[look]), masks, seeds[1]))


def test_with_masks_of_its_own_a_newcomer_leaves_earlier_replays_alone(plain: Setting) -> None:
    assert same(made(plain, {}, A=0.0)["A"], made(plain, {}, A=0.0, B=0.02)["A"])


def test_shared_masks_are_everyones_in_equal_parts_and_the_looks_each_sites_own(plain: Setting) -> None:
    sites = {"A": 0.0, "B": 0.02, "C": -0.02}
    found = made(plain, SHARED, **sites)
    assert {len(pairs.images) for pairs in found.values()} == {len(pairs.masks) for pairs in found.values()} == {COUNT}
    for look, pairs in found.items():
        theirs = [drawn_for(plain, look, other, **sites) for other in sites]
        counts = [sum(any(torch.equal(one, each) for each in of.images) for one in pairs.images) for of in theirs]
        assert sorted(counts) == [1, 2, 2]


@pytest.mark.parametrize("count", [1, 5, 40])
def test_shared_replays_are_the_same_whether_made_before_or_at_once(count: int, plain: Setting) -> None:
    kept: Made = {}
    sites: dict[str, float] = {}
    for site, shift in {"A": 0.0, "B": 0.02, "C": -0.02}.items():
        sites[site] = shift
        own, settings = weights(plain, sites), config(**SHARED)
        in_turn = make_replays(settings, plain, own, count, kept)
        at_once = make_replays(settings, plain, own, count)
        assert all(same(in_turn[one], at_once[one]) for one in sites)


def test_no_pair_is_made_twice(plain: Setting) -> None:
    kept: Made = {}
    make_replays(config(**SHARED), plain, weights(plain, {"A": 0.0}), COUNT, kept)
    first = kept["A", "A"]
    make_replays(config(**SHARED), plain, weights(plain, {"A": 0.0, "B": 0.02}), COUNT, kept)
    assert kept["A", "A"] is first
    assert set(kept) == {("A", "A"), ("A", "B"), ("B", "A"), ("B", "B")}


@pytest.mark.parametrize("masks", ["generated", "shared"])
def test_what_is_kept_is_part_of_more_that_are_made(masks: str, plain: Setting) -> None:
    sites, settings = {"A": 0.0, "B": 0.02}, {"masks": masks}
    kept = made(plain, {**settings, "keep": 0.5}, **sites)
    more = make_replays(config(**settings), plain, weights(plain, sites), 2 * COUNT)
    for site, pairs in kept.items():
        assert len(pairs.images) == len(pairs.masks) == COUNT
        assert all(any(torch.equal(one, each) for each in more[site].images) for one in pairs.images)


def test_what_is_kept_is_the_same_whether_made_before_or_at_once(plain: Setting) -> None:
    settings, made_before = config(keep=0.5), Made()
    make_replays(settings, plain, weights(plain, {"A": 0.0}), COUNT, made_before)
    both = weights(plain, {"A": 0.0, "B": 0.02})
    in_turn = make_replays(settings, plain, both, COUNT, made_before)
    at_once = make_replays(settings, plain, both, COUNT)
    assert all(same(in_turn[site], at_once[site]) for site in both)
