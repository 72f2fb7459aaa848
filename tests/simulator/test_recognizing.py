"""Site classifiers need few images, don't know where things lie, and never judge a patient whom they saw."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from simulator.flower.server_app import Silence
from simulator.recognizing import FOLDS, Panel, RealImages, folds_of, hits, site_classifier, train_panel
from sites.sources.phantom import Phantom, PhantomConfig
from strategies.common.segmenter import slices_of
from strategies.setting import Budget, Setting


def stripes(period: int, axis: int) -> Tensor:
    """A patient's eight slices: stripes of one width, across or along, and noise."""
    draws = torch.Generator().manual_seed(period + axis)
    wave = (torch.arange(16) % period < period // 2).float().expand(1, 16, 16)
    return 0.8 * (wave.transpose(1, 2) if axis else wave) + 0.2 * torch.rand(8, 1, 16, 16, generator=draws)


def panel(setting: Setting) -> Panel:
    """Of two sites who have either width and either direction: a patient is known by himself, or not at all."""
    held_out = {"A": (stripes(2, 0), stripes(8, 1)), "B": (stripes(8, 0), stripes(2, 1))}
    sites = [
        RealImages(
            shown=torch.zeros(0, 1, 16, 16),
            held_out=torch.cat(patients),
            patients=[f"{site}-{number // 8}" for number in range(16)],
        )
        for site, patients in held_out.items()
    ]
    return train_panel(sites, folds_of(sites), setting, Silence())


def test_a_held_out_image_is_judged_by_one_that_never_saw_its_patient(plain: Setting) -> None:
    shown, judges = stripes(8, 1), panel(plain)
    assert judges.hits(shown, 0).float().mean() > 0.9
    assert judges.held_out_hits(shown, ["A-1"] * 8, 0).float().mean() < 0.5


@pytest.mark.parametrize(("patients", "classifiers"), [(6, FOLDS), (2, 2), (1, 1)])
def test_who_is_held_out_at_two_sites_is_in_one_fold(patients: int, classifiers: int, plain: Setting) -> None:
    names = [str(number) for number in range(patients)]
    sites = [
        RealImages(shown=torch.rand(2, 1, 16, 16), held_out=torch.rand(patients, 1, 16, 16), patients=names)
        for _ in range(2)
    ]
    setting = replace(plain, budget=Budget(iterations=1, batch=240, learning_rate=1e-2))
    trained = train_panel(sites, folds_of(sites), setting, Silence())
    assert set(trained.folds) == set(names)
    assert len(trained.classifiers) == classifiers


def test_few_images_suffice_to_tell_sites_apart_and_it_counts_not_where_things_lie(plain: Setting) -> None:
    fundus = Phantom("fundus", PhantomConfig(size=32), 0)
    setting = replace(plain, shape=fundus.shape, budget=Budget(iterations=1, batch=8, learning_rate=1e-2))
    known, others = ([slices_of(fundus.train(site, first, 12))[0] for site in "AC"] for first in (0, 100))
    classifier = site_classifier(setting, known)
    for row, images in enumerate(others):
        for shown in (images, images.roll((12, 12), (-2, -1))):
            assert hits(classifier, shown, row).float().mean() > 0.8
