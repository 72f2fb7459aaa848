"""A-GEM: the projection against its formula."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from strategies.agem import project


def inner(one: list[torch.Tensor], two: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([t.flatten() for t in one]) @ torch.cat([t.flatten() for t in two])


def draw(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((3, 2), (4,), ())]


@given(st.integers(0, 500), st.integers(501, 999))
def test_the_projected_gradient_never_points_against_the_reference(one: int, two: int) -> None:
    gradient, reference = draw(one), draw(two)
    found = project(gradient, reference)
    before = inner(gradient, reference)
    if before >= 0:
        assert all(torch.equal(f, g) for f, g in zip(found, gradient, strict=True))
        return
    assert abs(inner(found, reference)) < 1e-9
    scale = before / inner(reference, reference)
    for f, g, r in zip(found, gradient, reference, strict=True):
        torch.testing.assert_close(f, g - scale * r)


def test_of_all_gradients_that_do_no_harm_it_is_the_nearest() -> None:
    gradient, reference = [torch.tensor([1.0, -2.0])], [torch.tensor([0.0, 3.0])]
    assert project(gradient, reference)[0].tolist() == [1.0, 0.0]


def test_a_reference_that_is_zero_changes_nothing() -> None:
    gradient = [torch.tensor([1.0, -2.0])]
    assert torch.equal(project(gradient, [torch.zeros(2)])[0], gradient[0])
