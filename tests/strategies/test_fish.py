"""Fish: a walk raises the inner product of the domains' gradients, where a plain step does not."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from strategies.common.alignment import Batch
from strategies.fish import walk

# Two domains with losses 1/2 (w - a)^T H (w - a).
HESSIANS = (torch.tensor([[3.0, 0.5], [0.5, 1.0]]), torch.tensor([[1.0, -0.3], [-0.3, 2.0]]))
CENTRES = (torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]))
DOMAINS = [Batch(hessian, centre) for hessian, centre in zip(HESSIANS, CENTRES, strict=True)]
START = torch.tensor([2.0, -1.5])


class Point(nn.Module):
    """A point in the plane; given a domain's Hessian it answers with both."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(start.clone())

    def forward(self, hessian: Tensor) -> Tensor:
        return torch.cat([self.w[None], hessian])


def loss_of(answer: Tensor, centre: Tensor) -> Tensor:
    distance = answer[0] - centre
    return distance @ answer[1:] @ distance / 2


def gradients(w: Tensor) -> tuple[Tensor, Tensor]:
    one, two = (hessian @ (w - centre) for hessian, centre in zip(HESSIANS, CENTRES, strict=True))
    return one, two


def inner_product(w: Tensor) -> float:
    one, two = gradients(w)
    return float(one @ two)


def walked(order: list[Batch], rate: float, meta: float) -> Tensor:
    point = Point(START)
    optimizer = torch.optim.SGD(point.parameters(), lr=rate)
    walk(point, loss_of, order, (optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)), meta)
    return point.w.detach()


def test_a_walk_differs_from_a_plain_step_by_the_gradient_of_the_inner_product() -> None:
    rate = 1e-2
    over_orders = (walked(DOMAINS, rate, 1.0) + walked(DOMAINS[::-1], rate, 1.0)) / 2
    one, two = gradients(START)
    plain = START - rate * (one + two)
    upward = HESSIANS[0] @ two + HESSIANS[1] @ one
    torch.testing.assert_close(over_orders - plain, rate**2 / 2 * upward, rtol=1e-2, atol=1e-7)
    assert inner_product(over_orders) > inner_product(plain)


def test_it_goes_part_of_the_way() -> None:
    whole, part = walked(DOMAINS, 0.1, 1.0), walked(DOMAINS, 0.1, 0.25)
    torch.testing.assert_close(part, START + 0.25 * (whole - START))
