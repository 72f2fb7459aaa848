"""What a release changes is bounded and blurred, and nothing else about it is touched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sites.defences import blur, clip, without_start
from sites.secret import Secret
from sites.wire import Kind, Payload, Weights, leaves_of, manifest_of

SECRET = Secret(b"a key")
finite = st.floats(-100, 100, width=32)
threes = st.lists(finite, min_size=3, max_size=3)


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """Weights with a batch norm's statistics, a gradient, and what is not covered."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    gradient: Annotated[Tensor, Kind.GRADIENT]
    cases: Annotated[Tensor, Kind.COUNT]
    spectrum: Annotated[Tensor, Kind.STATISTIC]


def upload(weight: list[float], variance: float = 1.0, gradient: float = 0.0) -> Upload:
    return Upload(
        segmenter={
            "conv.weight": torch.tensor(weight),
            "norm.running_var": torch.tensor([variance]),
            "norm.num_batches_tracked": torch.tensor(7),
        },
        gradient=torch.tensor([gradient]),
        cases=torch.tensor([12]),
        spectrum=torch.tensor([3.0]),
    )


MANIFEST = manifest_of(upload([0.0, 0.0, 0.0]))
START = leaves_of(upload([1.0, -2.0, 0.5], 2.0))


def change_of(payload: Payload) -> Tensor:
    """The covered change, a variance by its logarithm."""
    found = leaves_of(payload)
    weight = found["segmenter/conv.weight"].double() - START["segmenter/conv.weight"].double()
    factor = found["segmenter/norm.running_var"].double() / START["segmenter/norm.running_var"].double()
    return torch.cat([weight, factor.log(), found["gradient"].double()])


@settings(deadline=None)
@given(weight=threes, variance=st.floats(1e-4, 1e4), gradient=finite, bound=st.floats(1e-3, 1e3))
def test_no_change_is_longer_than_the_bound_and_none_is_turned(
    weight: list[float], variance: float, gradient: float, bound: float
) -> None:
    payload = upload(weight, variance, gradient)
    before = change_of(payload)
    scale = clip(payload, MANIFEST, START, bound)
    after = change_of(payload)
    assert float(after.norm()) <= bound * (1 + 1e-4) + 1e-4
    torch.testing.assert_close(after, scale * before, rtol=1e-3, atol=1e-4)
    assert scale == 1.0 or float(before.norm()) > bound


def test_a_change_within_the_bound_leaves_as_it_is() -> None:
    payload, same = upload([1.1, -2.0, 0.5], 2.1), upload([1.1, -2.0, 0.5], 2.1)
    assert clip(payload, MANIFEST, START, 10.0) == 1.0
    assert all(torch.equal(value, leaves_of(same)[key]) for key, value in leaves_of(payload).items())


@settings(deadline=None)
@given(weight=threes, variance=st.floats(0, 1e6), deviation=st.floats(0.01, 10))
def test_a_variance_stays_positive_and_whole_numbers_stay(
    weight: list[float], variance: float, deviation: float
) -> None:
    payload = upload(weight, variance)
    clip(payload, MANIFEST, START, 1.0)
    blur(payload, MANIFEST, START, deviation, SECRET)
    assert (leaves_of(payload)["segmenter/norm.running_var"] > 0).all()
    assert int(leaves_of(payload)["segmenter/norm.num_batches_tracked"]) == 7


def test_what_is_neither_weight_nor_gradient_is_not_touched() -> None:
    payload = upload([50.0, 0.0, 0.0])
    clip(payload, MANIFEST, START, 0.1)
    blur(payload, MANIFEST, START, 1.0, SECRET)
    assert (payload.cases, payload.spectrum) == (torch.tensor([12]), torch.tensor([3.0]))


def many(value: float = 0.0) -> tuple[Payload, Any, dict[str, Tensor]]:
    """A large payload without statistics, its manifest, and what it began as."""
    payload = upload([0.0] * 3)
    weights = {"conv.weight": torch.full((200, 100), value)}
    payload = Upload(**{**vars(payload), "segmenter": weights})
    return payload, manifest_of(payload), {"segmenter/conv.weight": torch.zeros(200, 100)}


def noise_on(value: float, secret: Secret = SECRET) -> Tensor:
    payload, manifest, start = many(value)
    blur(payload, manifest, start, 0.5, secret)
    return leaves_of(payload)["segmenter/conv.weight"] - value


def test_the_noise_has_the_deviation_that_was_asked_for() -> None:
    noise = noise_on(0.0)
    assert float(noise.std()) == pytest.approx(0.5, rel=0.02)
    assert abs(float(noise.mean())) < 0.02


def test_the_same_release_gets_the_same_noise_so_that_repeating_it_averages_nothing_away() -> None:
    assert torch.equal(noise_on(0.0), noise_on(0.0))


def test_another_release_gets_other_noise_so_that_their_difference_does_not_cancel_it() -> None:
    between = noise_on(0.0) - noise_on(1e-6)
    assert float(between.std()) == pytest.approx(0.5 * 2**0.5, rel=0.03)


def test_another_start_gets_other_noise() -> None:
    payload, manifest, start = many()
    blur(payload, manifest, {key: value + 1e-6 for key, value in start.items()}, 0.5, SECRET)
    assert not torch.allclose(leaves_of(payload)["segmenter/conv.weight"], noise_on(0.0), atol=1e-3)


def test_another_sites_noise_is_another() -> None:
    assert not torch.allclose(noise_on(0.0), noise_on(0.0, Secret(b"b key")), atol=1e-3)


def test_weights_whose_beginning_is_not_told_are_named() -> None:
    assert without_start(MANIFEST, START) == ()
    lost = {key: value for key, value in START.items() if key != "segmenter/conv.weight"}
    assert [leaf.key for leaf in without_start(MANIFEST, lost)] == ["segmenter/conv.weight"]
    other = {**START, "segmenter/conv.weight": torch.zeros(4)}
    assert [leaf.key for leaf in without_start(MANIFEST, other)] == ["segmenter/conv.weight"]
    no_gradient = {key: value for key, value in START.items() if key != "gradient"}
    assert without_start(MANIFEST, no_gradient) == ()
