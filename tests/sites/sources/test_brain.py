"""The brain source: slabs that never touch across the split, six simulated scanners, and their calibration."""

from __future__ import annotations

import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sites.errors import SourceError
from sites.scoring import predict
from sites.sources import brain
from sites.sources.brain import GAP, HALVES, SCANNERS, Brain, BrainConfig, deal, open_brain
from sites.stream import Case
from strategies.common.segmenter import build_segmenter, slices_of, train_segmenter
from strategies.setting import Budget, NetworkConfig, Setting

TRAINING = 4  # cases that every site has with the default settings
SEEN = "ABCD"


def opened(run: int = 0, **settings: object) -> Brain:
    return open_brain("brain", BrainConfig.model_validate(settings), run)


def test_a_case_has_the_documented_form() -> None:
    source = opened()
    shape = source.shape
    assert (shape.channels, shape.height, shape.width, shape.slices) == (1, 64, 64, 4)
    assert shape.structures == ("grey_matter", "white_matter")
    assert source.sites == tuple("ABCDEF")
    for site in source.sites:
        cases = source.train(site, 0, TRAINING) + source.held_out(site, 99)
        assert len({case.patient for case in cases}) == len(cases)
        for case in cases:
            assert (case.images.dtype, case.images.shape) == (torch.float32, (4, 1, 64, 64))
            assert (case.masks.dtype, case.masks.shape) == (torch.uint8, (4, 2, 64, 64))
            assert 0.0 <= float(case.images.min()) < float(case.images.max()) <= 1.0
            assert set(case.masks.unique().tolist()) == {0, 1}
            assert not case.masks.prod(1).any(), "a pixel is grey matter or white matter"
            assert case.spacing[0] == 1.0
            assert case.spacing[1] == case.spacing[2] == pytest.approx(1.25, rel=0.05)


@given(st.integers(2, 8))
def test_slabs_are_disjoint_and_no_training_slice_is_near_a_held_out_one(slices: int) -> None:
    held_out, train = deal(slices)
    dealt = [block for blocks in train.values() for block in blocks]
    assert tuple(train) == tuple(SCANNERS)
    assert min(len(blocks) for blocks in train.values()) >= 2
    assert len(set(dealt)) == len(dealt)
    owners = {block.start: {site for site, blocks in train.items() if block in blocks} for block in dealt}
    assert all(len(sites) == 1 for sites in owners.values()), "both halves of a slab stay at one site"
    for near in dealt:
        for far in held_out:
            assert abs(near.start - far.start) >= slices + GAP
    assert {block.half for block in held_out[:2]} == set(HALVES)


def same_masks(one: tuple[Case, ...], other: tuple[Case, ...]) -> bool:
    return all(torch.equal(a.masks, b.masks) for a, b in zip(one, other, strict=True))


def same(one: tuple[Case, ...], other: tuple[Case, ...]) -> bool:
    return same_masks(one, other) and all(torch.equal(a.images, b.images) for a, b in zip(one, other, strict=True))


def test_cases_follow_the_seed_and_nothing_else() -> None:
    first = opened(1).train("B", 0, TRAINING)
    assert same(first, opened(1).train("B", 0, TRAINING))
    assert same(first[2:], opened(1).train("B", 2, TRAINING - 2))
    assert same(first, opened(7, seed=1).train("B", 0, TRAINING))
    other = opened(2).train("B", 0, TRAINING)
    assert [case.patient for case in first] == [case.patient for case in other]
    assert same_masks(first, other)
    assert not same(first, other)


def apart(source: Brain, site: str) -> float:
    """Mean difference between what a site and A see of the same held-out anatomy."""
    pairs = zip(source.held_out(site, 4), source.held_out("A", 4), strict=True)
    return float(torch.stack([(a.images - b.images).abs().mean() for a, b in pairs]).mean())


def test_another_scanner_sees_the_same_slabs_as_it_sees_its_own() -> None:
    source = opened()
    own, seen = source.train("B", 1, 2), source.rescan("D", "B", 1, 2)
    assert same(source.rescan("B", "B", 1, 2), own)
    assert [case.patient for case in seen] == [case.patient for case in own]
    assert not same(seen, own)
    assert {case.spacing for case in seen} == {case.spacing for case in source.train("D", 0, 2)}


@pytest.mark.parametrize("site", list("BCDEF"))
def test_the_shift_alone_sets_sites_apart(site: str) -> None:
    alike, shifted, far = opened(shift=0.0), opened(), opened(shift=1.0)
    assert [c.patient for c in shifted.held_out(site, 9)] == [c.patient for c in shifted.held_out("A", 9)]
    assert same_masks(alike.held_out(site, 9), alike.held_out("A", 9))
    assert apart(alike, site) < 0.015, "only noise"
    assert apart(alike, site) * 2 < apart(shifted, site) < apart(far, site)


def test_mistakes_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match="write `task: brain`"):
        open_brain("prostate", BrainConfig(), 0)
    with pytest.raises(SourceError, match="no site 'G'; the sites are A, B, C, D, E, F"):
        opened().held_out("G", 1)
    with pytest.raises(SourceError, match="site B is asked for training cases 3 to 4, but has 4"):
        opened().train("B", 3, 2)
    with pytest.raises(SourceError, match="no site 'G'"):
        opened().rescan("G", "B", 0, 1)
    brain.head.cache_clear()
    monkeypatch.setattr(brain, "find_spec", lambda _: None)
    with pytest.raises(SourceError, match=r"pip install 'wardround\[brain\]'"):
        opened()


def test_the_head_is_found_without_importing_nilearn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "nilearn", raising=False)
    brain.head.cache_clear()
    opened().held_out("A", 1)
    assert "nilearn" not in sys.modules


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_joint_training_works_and_fine_tuning_forgets(seed: int) -> None:
    source = opened(seed)
    setting = Setting(
        shape=source.shape,
        network=NetworkConfig(),
        budget=Budget(iterations=250),
        augmentation="none",
        seed=seed,
        sites=("A",),
        most_cases=TRAINING,
    )
    training = {site: slices_of(source.train(site, 0, TRAINING)) for site in source.sites}

    def train(network: torch.nn.Module, sites: str) -> torch.nn.Module:
        images, masks = (torch.cat(parts) for parts in zip(*(training[site] for site in sites), strict=True))
        train_segmenter(network, setting, images, masks, iterations=250, seed=seed)
        return network

    def dice(network: torch.nn.Module, sites: str) -> list[float]:
        return [mean_dice(network, source.held_out(site, 99)) for site in sites]

    joint = dice(train(build_segmenter(setting), "ABCDEF"), "ABCDEF")
    tuned = build_segmenter(setting)
    for site in SEEN:
        train(tuned, site)
    after = dice(tuned, "ABCDEF")
    assert min(joint) > 0.85
    assert (sum(joint[:3]) - sum(after[:3])) / 3 > 0.10, "sites that came before are forgotten"
    assert all(then - now > 0.05 for then, now in zip(joint[4:], after[4:], strict=True)), "unseen sites are harder"


def mean_dice(network: torch.nn.Module, cases: tuple[Case, ...]) -> float:
    """Dice per case and structure over a case's voxels, averaged."""
    scores = []
    for case in cases:
        predicted, masks = predict(network, case.images).float(), case.masks.float()
        shared, both = (predicted * masks).sum((0, 2, 3)), (predicted + masks).sum((0, 2, 3))
        scores.append(2 * shared / both)
    return float(torch.stack(scores).mean())
