"""A site's secret stays in its folder, and what is drawn from it can't be computed from anything that is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from sites.secret import Secret, kept_secret

SECRET = Secret(b"a key")


def test_a_purpose_has_the_same_numbers_each_time() -> None:
    one, two = SECRET.draws("noise", 1), SECRET.draws("noise", 1)
    assert torch.equal(one.normal((3, 2)), two.normal((3, 2)))
    assert torch.equal(one.normal((3, 2)), two.normal((3, 2)))


@pytest.mark.parametrize(
    "other", [SECRET.draws("noise", 2), SECRET.draws("rows", 1), Secret(b"b key").draws("noise", 1)]
)
def test_another_purpose_or_key_has_other_numbers(other: object) -> None:
    assert not np.isin(SECRET.draws("noise", 1).uniform(1000), other.uniform(1000)).any()  # type: ignore[attr-defined]


def test_a_stream_does_not_repeat_itself() -> None:
    draws = SECRET.draws("noise")
    assert len({*draws.uniform(1000), *draws.uniform(1000)}) == 2000


def test_numbers_are_distributed_as_they_should_be() -> None:
    assert kstest(SECRET.draws("a").uniform(20_000), "uniform").pvalue > 0.01
    assert kstest(SECRET.draws("b").normal((20_000,)).numpy(), "norm").pvalue > 0.01
    both = torch.stack([SECRET.draws("b").normal((20_000,)), SECRET.draws("c").normal((20_000,))])
    assert abs(float(torch.corrcoef(both)[0, 1])) < 0.03


def test_no_number_is_infinite() -> None:
    draws = SECRET.draws("edge")
    draws.uniform = lambda count: np.array([2.0**-54, 1 - 2.0**-53])  # type: ignore[method-assign, assignment]
    assert draws.normal((2,)).isfinite().all()


def test_a_drawn_secret_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "A" / "secret"
    one = kept_secret(path, None, "A", 0).derived("x")
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(bytes.fromhex(path.read_text())) == 32
    assert kept_secret(path, None, "A", 0).derived("x") == one
    assert kept_secret(tmp_path / "B" / "secret", None, "A", 0).derived("x") != one


def test_a_simulated_secret_is_the_same_again_and_different_for_each_site_and_run(tmp_path: Path) -> None:
    def made(folder: str, text: str, *simulation: str | int) -> bytes:
        return kept_secret(tmp_path / folder, text, *simulation).derived("x")

    assert made("1", "words", "A", 0) == made("2", "words", "A", 0)
    assert (
        len({made(str(n), *of) for n, of in enumerate([("words", "A", 0), ("words", "B", 0), ("words", "A", 1)], 3)})
        == 3
    )
    assert made("6", "words", "A", 0) != made("7", "others", "A", 0)
