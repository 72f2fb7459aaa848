"""The account of private training agrees with the literature, and patients are drawn each by itself."""

from __future__ import annotations

from math import inf, log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sites.privacy import ORDERS, DpSgd, PrivateTraining, Spent, epsilon_of
from sites.secret import Secret
from sites.stream import Case

POLICY = DpSgd(noise_multiplier=1.0, delta=1e-3)


def case(patient: str, slices: int) -> Case:
    images = torch.zeros(slices, 1, 2, 2)
    return Case(patient=patient, images=images, masks=images.to(torch.uint8), spacing=(1.0, 1.0, 1.0))


def training(*cases: Case, secret: bytes = b"a key") -> PrivateTraining:
    return PrivateTraining(POLICY, cases, Secret(secret))


def spent(noise: float = 1.0, rate: float = 1.0, steps: int = 10) -> Spent:
    return Spent(noise_multiplier=noise, sample_rate=rate, steps=steps)


def test_without_sampling_epsilon_is_that_of_the_gaussian_mechanism() -> None:
    """Rényi divergence of order a between Gaussians one clip apart is a / (2 z^2) an iteration (Mironov, 2017)."""
    delta, steps, noise = 1e-3, 10, 3.0
    bounds = [steps * a / (2 * noise**2) + log((a - 1) / a) - (log(delta) + log(a)) / (a - 1) for a in ORDERS]
    assert epsilon_of([spent(noise, 1.0, steps)], delta) == pytest.approx(min(bounds), rel=1e-6)


def test_the_figures_of_abadi_et_al_are_not_exceeded() -> None:
    """Abadi et al., CCS 2016, section 5: q = .01, noise 4, 10,000 steps, delta 1e-5 cost at most 1.26."""
    assert 1.0 < epsilon_of([spent(4.0, 0.01, 10_000)], 1e-5) < 1.26


@settings(max_examples=4)
@given(noise=st.floats(0.5, 5), rate=st.floats(0.05, 1), steps=st.integers(1, 50))
def test_more_training_or_less_noise_never_costs_less(noise: float, rate: float, steps: int) -> None:
    cost = epsilon_of([spent(noise, rate, steps)], 1e-3)
    assert 0 < cost <= epsilon_of([spent(noise, rate, steps), spent(noise, rate, 5)], 1e-3)
    assert cost <= epsilon_of([spent(noise / 2, rate, steps)], 1e-3)
    assert cost <= epsilon_of([spent(noise, 1.0, steps)], 1e-3)
    assert cost <= epsilon_of([spent(noise, rate, steps)], 1e-5)


def test_two_parts_cost_as_much_as_one_of_both() -> None:
    parts = epsilon_of([spent(steps=4), spent(steps=6)], 1e-3)
    assert parts == pytest.approx(epsilon_of([spent(steps=10)], 1e-3))


def test_nothing_costs_nothing_and_no_noise_costs_everything() -> None:
    assert epsilon_of([], 1e-3) == epsilon_of([spent(steps=0)], 1e-3) == 0.0
    assert epsilon_of([spent(0.0)], 1e-3) == inf


def test_a_patient_is_drawn_at_the_rate_of_the_account_and_once_an_iteration() -> None:
    private = training(case("p", 3), case("q", 1), case("r", 4), case("q", 2))
    assert private.patients == 3
    owners = torch.tensor([0, 0, 0, 1, 2, 2, 2, 2, 1, 1])
    drawn = list(private.begin(1.5, 4000).rows())
    assert private.spent == [spent(rate=0.5, steps=4000)]
    whose = [owners[rows] for rows in drawn]
    assert all(len(set(some.tolist())) == len(some) for some in whose)
    shares = torch.stack([torch.tensor([patient in some for patient in range(3)]) for some in whose]).float()
    torch.testing.assert_close(shares.mean(0), torch.full((3,), 0.5), atol=0.03, rtol=0)
    assert float(torch.corrcoef(shares.T).triu(1).abs().max()) < 0.05
    assert torch.cat(drawn).bincount(minlength=10).min() > 0


def test_all_patients_are_drawn_where_a_batch_holds_more() -> None:
    private = training(case("p", 1), case("q", 1))
    session = private.begin(16, 3)
    assert private.spent == [spent(rate=1.0, steps=3)]
    assert session.expected == 2
    assert all(rows.tolist() == [0, 1] for rows in session.rows())


def test_who_is_drawn_depends_on_the_secret_and_on_which_part_it_is() -> None:
    cases = [case(str(number), 1) for number in range(20)]

    def drawn(private: PrivateTraining) -> list[list[int]]:
        return [rows.tolist() for rows in private.begin(10, 20).rows()]

    private = training(*cases)
    first = drawn(private)
    assert first == drawn(training(*cases))
    assert first != drawn(training(*cases, secret=b"b key"))
    assert first != drawn(private)
