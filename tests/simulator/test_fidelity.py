"""Fidelity tells faithful replays from copies, from another site's, from one picture again and again, from noise."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from simulator import fidelity, recognizing
from simulator.fidelity import (
    Fidelity,
    Judges,
    Pictures,
    SitePictures,
    interval,
    ratio,
    share_nearer,
    train_judges,
)
from simulator.flower.server_app import Silence
from sites.sources.phantom import Phantom, PhantomConfig
from strategies.common.segmenter import slices_of
from strategies.setting import Budget, NetworkConfig, Setting

COUNT = 18
PHANTOM = Phantom("prostate", PhantomConfig(size=32, slices=1), 0)
SETTING = Setting(
    shape=PHANTOM.shape,
    network=NetworkConfig(widths=(8, 16), residual_units=0),
    budget=Budget(iterations=1, batch=24, learning_rate=1e-2),
    augmentation="none",
    seed=0,
    sites=("A", "B"),
    most_cases=24,
)


def pictures(site: str, first: int) -> Pictures:
    return Pictures(*slices_of(PHANTOM.train(site, first, COUNT)))


def some(pictures: Pictures, count: int) -> tuple[Tensor, Tensor]:
    return pictures.images[:count], pictures.masks[:count]


def replays_of(site: str, replayed: Pictures, painted: Pictures) -> SitePictures:
    return SitePictures(
        trained=pictures(site, 0),
        held_out=pictures(site, 50),
        replayed=replayed,
        patients=[f"{site}-{row}" for row in range(COUNT)],
        painted=painted.images,
    )


@cache
def judges() -> Judges:
    sites = [replays_of(site, pictures(site, 100), pictures(site, 50)) for site in "AB"]
    return train_judges(sites, SETTING, Silence())


@cache
def measured(what: str) -> Fidelity:
    """What the judges say of site A, whose replays are something else each time."""
    real = pictures("A", 100)
    copies = pictures("A", 0)
    replays = {
        "faithful": real,
        "copies": copies,
        "some copies": Pictures(
            *(torch.cat(parts) for parts in zip(some(copies, COUNT // 3), some(real, 2 * COUNT // 3), strict=True))
        ),
        "moved copies": Pictures(*(part.roll((1, -2), (-2, -1)) for part in slices_of(PHANTOM.train("A", 0, COUNT)))),
        "another site's": pictures("B", 100),
        "one picture": Pictures(real.images[:1].expand(COUNT, -1, -1, -1), real.masks[:1].expand(COUNT, -1, -1, -1)),
        "wrong masks": Pictures(real.images, real.masks.flip(0).roll(8, -1)),
    }
    painted = copies if what == "copies" else pictures("A", 50)
    return judges().fidelity("A", 0, replays_of("A", replays[what], painted))


def test_replays_that_are_like_the_site_score_like_its_held_out_images() -> None:
    found = measured("faithful")
    assert found.hits == pytest.approx(found.real_hits, abs=0.1)
    assert found.real_hits > 0.9
    assert found.dice == pytest.approx(found.real_dice, abs=0.06)
    assert found.painted_hits == pytest.approx(found.real_hits, abs=0.1)
    assert found.painted_dice == pytest.approx(found.real_dice)
    assert found.diversity == pytest.approx(1, abs=0.2)
    assert found.nearest == pytest.approx(1, abs=0.15)
    assert found.nearest_low < 1 < found.nearest_high
    assert found.nearer_low < 0.05
    assert found.nearer_low <= found.nearer <= found.nearer_high
    assert found.painted_nearer < 0.1


def test_copies_lie_on_the_training_images() -> None:
    assert measured("copies").nearest < 1e-3
    assert measured("copies").nearest_high < 1e-3
    assert measured("copies").nearer == measured("copies").painted_nearer == 1


def test_some_copies_among_others_leave_the_median_alone_and_show_at_the_low_end() -> None:
    found = measured("some copies")
    assert found.nearest > 0.9
    assert found.nearer_low > 0.05


def test_copies_that_were_moved_still_do() -> None:
    assert measured("moved copies").nearest < 0.5
    assert measured("moved copies").nearest_high < 0.5


def test_another_sites_replays_miss() -> None:
    assert measured("another site's").hits < 0.1


def test_shown_what_the_others_hold_the_classifiers_know_a_site_by_its_scanner_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Site A holds one half of the patients, B the other, who are far brighter; A's replays are of B's patients."""

    def brighter(pictures: Pictures) -> Pictures:
        return Pictures(pictures.images * 0.5 + 0.5, pictures.masks)

    for module in (fidelity, recognizing):
        monkeypatch.setattr(module, "PASSES", 20)
    hits = {}
    for shown in (False, True):
        a = replays_of("A", brighter(pictures("A", 100)), pictures("A", 50))
        b = replays_of("B", brighter(pictures("B", 100)), pictures("B", 50))
        b = replace(b, trained=brighter(b.trained), held_out=brighter(b.held_out), patients=a.patients)
        if shown:
            a = replace(a, rescanned=brighter(pictures("A", 0)).images)
            b = replace(b, rescanned=pictures("B", 0).images)
        hits[shown] = train_judges([a, b], SETTING, Silence()).fidelity("A", 0, a).hits
    assert hits[False] < 0.2
    assert hits[True] > 0.9


def test_one_picture_again_and_again_is_not_diverse() -> None:
    assert measured("one picture").diversity < 0.01


def test_masks_that_do_not_belong_to_their_images_are_found() -> None:
    assert measured("wrong masks").dice < measured("faithful").dice - 0.2


def test_many_slices_of_three_patients_say_less_than_as_many_patients_would() -> None:
    near, usual = np.linspace(0.9, 1.1, 24), np.tile([0.8, 1.0, 1.3], 8)
    width = {}
    for count in (24, 3):
        low, high = interval(ratio, near, usual, [str(row % count) for row in range(24)], seed=0)
        assert low < 1 < high
        width[count] = high - low
    assert width[3] > 1.2 * width[24]


def test_held_out_patients_are_seldom_told_to_lie_nearer_than_others() -> None:
    draws, patients, told = np.random.default_rng(0), [str(row // 6) for row in range(48)], 0
    for _ in range(40):
        near, usual = (draws.normal(1, 0.1, (8, 1)) + draws.normal(0, 0.1, (8, 6)) for _ in range(2))
        low, _ = interval(share_nearer, near.ravel(), usual.ravel(), patients, seed=0)
        told += low > 0.05
    assert told <= 6
