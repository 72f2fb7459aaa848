"""A whole spectrum gives its image away; a few low amplitudes of it keep to what they say."""

from __future__ import annotations

import torch

from simulator.exposure.phase import from_low_amplitudes, from_whole_spectrum, whole_spectrum
from simulator.exposure.statistics import likeness
from sites.sources.phantom import Phantom, PhantomConfig
from strategies.common.segmenter import slices_of
from strategies.feddg import low_amplitudes, window

PHANTOM = Phantom("prostate", PhantomConfig(size=32, slices=1), 0)
IMAGES = slices_of(PHANTOM.train("A", 0, 6))[0]
USUAL = slices_of(PHANTOM.held_out("B", 6))[0].mean(0)


def test_images_come_out_of_whole_spectra_perhaps_upside_down() -> None:
    made = from_whole_spectrum(whole_spectrum(IMAGES), USUAL)
    own = torch.maximum(likeness(made, IMAGES), likeness(made.flip(-2, -1), IMAGES)).diagonal()
    assert own.median() > 0.7
    assert own.mean() > likeness(made, IMAGES.roll(1, 0)).diagonal().mean() + 0.3


def test_what_low_amplitudes_say_is_kept_and_the_rest_is_the_start() -> None:
    left = low_amplitudes(IMAGES, 3, 3)
    made = from_low_amplitudes(left, window(IMAGES, 3, 3), USUAL)
    before = low_amplitudes(USUAL[None], 3, 3)
    assert (low_amplitudes(made, 3, 3) - left).norm() < 0.1 * (before - left).norm()
    assert likeness(made, USUAL[None]).min() > 0.8
