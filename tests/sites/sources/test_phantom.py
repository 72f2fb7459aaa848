"""The phantoms: the same patient every time, exact masks, and sites that differ by their scanner alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sites.errors import SourceError
from sites.sources.phantom import SOURCE, Phantom, PhantomConfig, open_phantom
from sites.stream import Case

TASKS = ("prostate", "fundus")


def opened(task: str, seed: int = 0, **chosen: object) -> Phantom:
    return open_phantom(task, PhantomConfig.model_validate(chosen), seed)


def same(one: Case, other: Case) -> bool:
    return torch.equal(one.images, other.images) and torch.equal(one.masks, other.masks)


def mean_image(source: Phantom, site: str, count: int = 16) -> np.ndarray:
    """Mean image of a site's patients, blurred to a 6 x 6 grid so that single outlines do not matter."""
    images = torch.cat([case.images for case in source.train(site, 0, count)]).mean(dim=0)
    return torch.nn.functional.adaptive_avg_pool2d(images, 6).numpy()


@pytest.mark.parametrize("task", TASKS)
def test_a_case_is_the_same_whenever_and_with_whomever_it_is_made(task: str) -> None:
    first, second = opened(task), opened(task)
    together = first.train("B", 2, 3)
    alone = second.train("B", 4, 1)[0]
    assert alone.patient == together[2].patient
    assert same(alone, together[2])
    assert same(second.held_out("B", 2)[0], first.held_out("B", 1)[0])


@pytest.mark.parametrize("task", TASKS)
def test_no_patient_is_seen_twice(task: str) -> None:
    source = opened(task, shift=0.0)
    cases = [case for site in "AB" for case in (*source.train(site, 0, 3), *source.held_out(site, 3))]
    assert len({case.patient for case in cases}) == len(cases)
    assert len({case.masks.numpy().tobytes() for case in cases}) == len(cases)


def test_the_seed_of_the_data_set_comes_before_the_runs() -> None:
    follows, other = opened("fundus", seed=1), opened("fundus", seed=2)
    fixed = open_phantom("fundus", PhantomConfig(seed=1), 2)
    case = follows.train("A", 0, 1)[0]
    assert not same(case, other.train("A", 0, 1)[0])
    assert same(case, fixed.train("A", 0, 1)[0])


@settings(max_examples=12)
@given(
    task=st.sampled_from(TASKS),
    site=st.sampled_from("ABCDEFGHIJKL"),
    config=st.builds(
        PhantomConfig,
        size=st.sampled_from([32, 40, 64]),
        slices=st.integers(1, 12),
        shift=st.floats(0.0, 1.5),
        seed=st.integers(0, 2**32),
    ),
)
def test_every_case_has_the_form_that_its_source_says(task: str, site: str, config: PhantomConfig) -> None:
    source = open_phantom(task, config, 0)
    shape = source.shape
    size, slices = config.size, config.slices
    for case in (*source.train(site, 0, 1), *source.held_out(site, 1)):
        assert case.images.shape == (slices, shape.channels, size, size)
        assert case.images.dtype == torch.float32
        assert case.images.is_contiguous()
        assert 0 <= float(case.images.min()) < float(case.images.max()) <= 1
        assert case.masks.shape == (slices, len(shape.structures), size, size)
        assert case.masks.dtype == torch.uint8
        assert int(case.masks.max()) == 1
        assert bool((case.masks.flatten(2).sum(dim=2) > 0).all())
        assert all(length > 0 for length in case.spacing)


def test_the_cup_lies_inside_the_disc() -> None:
    source = opened("fundus")
    assert source.shape.structures == ("cup", "disc")
    for case in source.train("C", 0, 20):
        cup, disc = case.masks[:, 0], case.masks[:, 1]
        assert bool((cup <= disc).all())
        assert int(cup.sum()) < int(disc.sum())


def test_spacing_is_in_millimetres() -> None:
    (case,) = opened("prostate", shift=0.0).train("A", 0, 1)
    assert case.spacing == pytest.approx((3.6, 90 / 48, 90 / 48))
    (case,) = opened("prostate", shift=0.0, slices=30).train("A", 0, 1)
    assert case.spacing[0] * 30 < 2 * 24
    (case,) = opened("fundus", shift=0.0, size=96).train("A", 0, 1)
    assert case.spacing == pytest.approx((1.0, 3.6 / 96, 3.6 / 96))


@pytest.mark.parametrize("task", TASKS)
def test_without_shift_all_sites_are_alike(task: str) -> None:
    shifted = opened(task, slices=1)
    alike = opened(task, slices=1, shift=0.0)
    for site in "BCD":
        near = np.abs(mean_image(alike, site) - mean_image(alike, "A")).mean()
        far = np.abs(mean_image(shifted, site) - mean_image(shifted, "A")).mean()
        assert far > 2 * near


@pytest.mark.parametrize("task", TASKS)
def test_contrast_is_reversed_only_at_the_sites_named(task: str) -> None:
    # Without shift, for a coil's shading is not reversed and would hide that the tissue is.
    plain, reversed_at_b = opened(task, shift=0.0), opened(task, shift=0.0, contrast_reversal=("B",))
    assert same(plain.train("A", 0, 1)[0], reversed_at_b.train("A", 0, 1)[0])
    before, after = plain.train("B", 0, 1)[0], reversed_at_b.train("B", 0, 1)[0]
    assert torch.equal(before.masks, after.masks)
    correlation = np.corrcoef(before.images.flatten(), after.images.flatten())[0, 1]
    assert correlation < -0.9


def test_errors_name_the_field_and_the_fix() -> None:
    with pytest.raises(SourceError, match="task: 'lung' has no phantom; set task to one of prostate, fundus"):
        open_phantom("lung", PhantomConfig(), 0)
    source = opened("prostate")
    with pytest.raises(SourceError, match="no site 'Z'; use one of A, B"):
        source.train("Z", 0, 1)
    with pytest.raises(SourceError, match="no site 'Z'"):
        source.held_out("Z", 1)


@pytest.mark.parametrize(
    "chosen",
    [{"size": 50}, {"size": 24}, {"slices": 0}, {"shift": -0.1}, {"contrast_reversal": ("Z",)}, {"sice": 48}],
)
def test_settings_that_make_no_sense_are_refused(chosen: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PhantomConfig.model_validate(chosen)


def test_the_module_is_a_source_kind() -> None:
    source = SOURCE.open("prostate", SOURCE.config(), 0)
    assert source.sites == tuple("ABCDEFGHIJKL")
    assert (source.shape.slices, source.shape.channels) == (4, 1)
