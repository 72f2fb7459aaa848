"""Slices: a released amplitude is traced to the slice that it is of."""

from __future__ import annotations

import torch

from simulator.exposure.slices import sources_of
from sites.sources.phantom import Phantom, PhantomConfig
from strategies.feddg import low_amplitudes


def test_a_slice_is_known_by_its_amplitudes() -> None:
    cases = Phantom("prostate", PhantomConfig(size=32, slices=2), 0).train("A", 0, 3)
    left = low_amplitudes(torch.stack([cases[2].images[1], torch.rand(1, 32, 32)]), 5, 5)
    known, unknown = sources_of(left, cases)
    assert known is not None
    assert (known.case.patient, known.place) == (cases[2].patient, 1)
    assert unknown is None
