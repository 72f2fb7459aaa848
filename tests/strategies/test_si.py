"""SI: the path integral on a quadratic, where the fall of the loss is known."""

from __future__ import annotations

import torch
from torch import nn

from strategies.si import Broadcast, PathIntegral, loss_gradient

CURVES = torch.tensor([4.0, 1.0, 0.0])


class Bowl(nn.Module):
    """A loss 1/2 sum_i curve_i w_i^2, from w = 1."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(3))

    def forward(self) -> torch.Tensor:
        return 0.5 * (CURVES * self.w**2).sum()


def walk(bowl: Bowl, path: PathIntegral, steps: int, rate: float = 1e-3) -> None:
    for _ in range(steps):
        before, gradient = bowl.w.detach().clone(), torch.autograd.grad(bowl(), bowl.w)[0]
        with torch.no_grad():
            bowl.w -= rate * gradient
        path.add({"w": before}, {"w": gradient})


def test_the_path_integral_of_a_quadratic_is_the_fall_of_the_loss() -> None:
    bowl = Bowl()
    path = PathIntegral(bowl)
    walk(bowl, path, steps=2000)
    fall = 0.5 * CURVES * (1 - bowl.w.detach() ** 2)
    torch.testing.assert_close(path.tensors()["gain/w"], fall, rtol=5e-3, atol=1e-6)
    omega = fall / ((1 - bowl.w.detach()) ** 2 + 0.1)
    torch.testing.assert_close(path.importance(damping=0.1)["w"], omega, rtol=5e-3, atol=1e-6)


def test_at_the_bottom_omega_is_half_the_curvature() -> None:
    bowl = Bowl()
    path = PathIntegral(bowl)
    walk(bowl, path, steps=20_000)
    torch.testing.assert_close(path.importance(1e-9)["w"], CURVES / 2, rtol=5e-3, atol=1e-6)


def test_a_path_over_two_rounds_is_one_path() -> None:
    whole, halves = Bowl(), Bowl()
    path, first = PathIntegral(whole), PathIntegral(halves)
    walk(whole, path, steps=200)
    walk(halves, first, steps=100)
    second = PathIntegral(halves, first.tensors())
    walk(halves, second, steps=100)
    torch.testing.assert_close(second.importance(0.1), path.importance(0.1))


def test_what_raised_the_loss_has_no_importance() -> None:
    bowl = Bowl()
    path = PathIntegral(bowl)
    walk(bowl, path, steps=10, rate=-1e-2)
    assert torch.equal(path.importance(0.1)["w"], torch.zeros(3))


def test_the_penalty_is_taken_out_of_the_gradient() -> None:
    bowl = Bowl()
    down = Broadcast(segmenter={}, anchor={"w": torch.full((3,), 0.2)}, importance={"w": torch.tensor([1.0, 2.0, 3.0])})
    before = {"w": bowl.w.detach().clone()}
    penalty = (down.importance["w"] * (bowl.w - down.anchor["w"]) ** 2).sum()
    (bowl() + 5 * penalty).backward()
    torch.testing.assert_close(loss_gradient(bowl, before, down, 5)["w"], CURVES)
