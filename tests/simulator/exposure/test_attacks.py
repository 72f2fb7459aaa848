"""Attacks see what was learnt by heart, and nothing in a network that saw no patient."""

from __future__ import annotations

from functools import cache

import pytest

from simulator.exposure.attacks import Assault
from simulator.exposure.controls import over_trained_generator, over_trained_segmenter, untrained_generator
from simulator.exposure.findings import Finding, Target
from simulator.exposure.subjects import Subject
from sites.sources.phantom import Phantom, PhantomConfig
from strategies.common.denoising import sample
from strategies.common.diffusion import DiffusionConfig, build_generator
from strategies.common.segmenter import build_segmenter
from strategies.setting import Budget, NetworkConfig, Setting

PHANTOM = Phantom("prostate", PhantomConfig(size=32, slices=1), 0)
SETTING = Setting(
    shape=PHANTOM.shape,
    network=NetworkConfig(widths=(8, 16, 32), residual_units=1),
    budget=Budget(iterations=1, batch=8, learning_rate=5e-3),
    augmentation="standard",
    seed=0,
    sites=("A",),
    most_cases=12,
)


def assault(count: int, target: Target) -> Assault:
    subject = Subject(site="A", patients=PHANTOM.train("A", 0, count), others=PHANTOM.held_out("A", 16))
    return Assault(subject=subject, target=target, released=False, seed=0)


@cache
def generator_findings(trained: bool) -> dict[str, Finding]:
    like = build_generator(DiffusionConfig(), SETTING.shape, 0)
    if trained:
        attacker = assault(4, "over-trained control")
        generator = over_trained_generator(like, SETTING, attacker.subject.patients, 300)
    else:
        attacker = assault(12, "untrained control")
        generator = untrained_generator(like, SETTING)
    found = attacker.on_generator(generator) + attacker.on_replays(sample(generator, 64, 1)[0])
    return {finding.attack: finding for finding in found}


@pytest.mark.slow
@pytest.mark.parametrize("attack", ["denoising loss", "SecMI", "copy test", "extraction"])
def test_a_generator_that_knows_four_patients_by_heart_is_found_out(attack: str) -> None:
    assert generator_findings(True)[attack].exposes
    assert generator_findings(True)[attack].sentence.endswith("The attack works.")


@pytest.mark.slow
@pytest.mark.parametrize("attack", ["denoising loss", "SecMI", "copy test", "extraction"])
def test_a_generator_that_saw_no_patient_gives_none_away(attack: str) -> None:
    assert not generator_findings(False)[attack].exposes


def test_a_segmenter_that_knows_four_patients_by_heart_is_found_out() -> None:
    attacker = assault(4, "over-trained control")
    (found,) = attacker.on_segmenter(over_trained_segmenter(SETTING, attacker.subject.patients, 150))
    assert found.exposes


def test_a_segmenter_that_saw_no_patient_gives_none_away() -> None:
    (found,) = assault(12, "untrained control").on_segmenter(build_segmenter(SETTING))
    assert not found.exposes
