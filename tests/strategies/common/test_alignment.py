"""Alignment against its theory: Taylor error, order of the pair, exact against first order, and what it does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from strategies.common.alignment import AlignmentConfig, Batch, Domain, aligned_gradient, train_aligned


def squared(prediction: Tensor, target: Tensor) -> Tensor:
    return (prediction - target).square().mean()


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2)).double()


def batch(seed: int, count: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return Batch(images, torch.randn(count, 2, generator=generator, dtype=torch.float64))


def flat(gradients: list[Tensor]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients])


def gradient_of(net: nn.Module, data: Batch) -> Tensor:
    loss = squared(net(data.images), data.masks)
    return flat(list(torch.autograd.grad(loss, list(net.parameters()))))


def hessian_product(net: nn.Module, data: Batch, vector: Tensor) -> Tensor:
    """H v of one batch's loss, by differentiating g . v."""
    loss = squared(net(data.images), data.masks)
    gradient = flat(list(torch.autograd.grad(loss, list(net.parameters()), create_graph=True)))
    return flat(list(torch.autograd.grad(gradient @ vector, list(net.parameters()))))


def moved_loss(net: nn.Module, first: Batch, second: Batch, step: float) -> float:
    moved = network()
    start = parameters_to_vector(net.parameters()).detach()
    vector_to_parameters(start - step * gradient_of(net, first), moved.parameters())
    return squared(moved(second.images), second.masks).item()


def test_the_error_of_the_taylor_expansion_scales_as_the_square_of_the_inner_step() -> None:
    net, first, second = network(), batch(1), batch(2)
    inner = float(gradient_of(net, first) @ gradient_of(net, second))
    still = squared(net(second.images), second.masks).item()
    errors = [abs(moved_loss(net, first, second, step) - (still - step * inner)) for step in (0.04, 0.02, 0.01)]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("exact", [False, True])
def test_the_alignment_part_of_the_gradient_is_what_the_theory_says(exact: bool) -> None:
    net, first, second = network(), batch(1), batch(2)
    one, two = gradient_of(net, first), gradient_of(net, second)
    step = 1e-4
    found = flat(aligned_gradient(net, squared, first, second, inner_step=step, exact=exact)[0])
    part = (found - one - two) / step
    theory = -hessian_product(net, second, one)
    if exact:
        theory = theory - hessian_product(net, first, two)
    assert torch.allclose(part, theory, rtol=1e-2, atol=1e-3)


def test_over_a_random_order_first_order_mode_gives_half_the_gradient_of_the_inner_product() -> None:
    net, first, second = network(), batch(1), batch(2)
    step = 1e-4
    both = [
        flat(aligned_gradient(net, squared, *pair, inner_step=step, exact=False)[0])
        for pair in ((first, second), (second, first))
    ]
    plain = gradient_of(net, first) + gradient_of(net, second)
    exact = flat(aligned_gradient(net, squared, first, second, inner_step=step, exact=True)[0])
    mean = (both[0] + both[1]) / 2 - plain
    assert torch.allclose(mean / step, (exact - plain) / 2 / step, rtol=1e-2, atol=1e-3)
    assert not torch.allclose((both[0] - plain) / step, (both[1] - plain) / step, rtol=0.1)


def test_the_cosine_is_that_of_the_two_gradients() -> None:
    net, first, second = network(), batch(1), batch(2)
    one, two = gradient_of(net, first), gradient_of(net, second)
    cosine = aligned_gradient(net, squared, first, second, inner_step=1e-7, exact=False)[1]
    assert cosine == pytest.approx(float(one @ two / one.norm() / two.norm()), abs=1e-4)


def conflicting_sites() -> list[Domain]:
    """Two linear sites that agree on one input and disagree on another."""
    generator = torch.Generator().manual_seed(0)
    sites = []
    for sign in (1.0, -1.0):
        images = torch.randn(200, 2, generator=generator, dtype=torch.float64)
        sites.append(Domain(images, (images[:, :1] + 0.8 * sign * images[:, 1:]).tanh()))
    return sites


def trained(config: AlignmentConfig) -> tuple[list[float], list[float]]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    old, new = conflicting_sites()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    cosines = train_aligned(net, squared, new, [old], config, optimizer=optimizer, iterations=150, batch=32, seed=0)
    return cosines.orientational, cosines.arbitrary


def test_each_term_is_on_a_switch_of_its_own() -> None:
    for orientational in (False, True):
        for arbitrary in (False, True):
            counts = [len(part) for part in trained(AlignmentConfig(orientational=orientational, arbitrary=arbitrary))]
            assert [count > 0 for count in counts] == [orientational, arbitrary]
            assert sum(counts) == 150 if orientational else sum(counts) < 150


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 3.0])
def test_the_weight_says_how_often_the_arbitrary_term_is_drawn(weight: float) -> None:
    orientational, arbitrary = trained(AlignmentConfig(weight=weight))
    assert len(orientational) + len(arbitrary) == 150
    assert len(arbitrary) / 150 == pytest.approx(weight / (1 + weight), abs=0.12)


def test_a_strong_alignment_turns_the_gradients_of_conflicting_sites_towards_each_other() -> None:
    weak = trained(AlignmentConfig(arbitrary=False, inner_step=1e-6))[0]
    strong = trained(AlignmentConfig(arbitrary=False, inner_step=1.0, exact=True))[0]
    assert sum(strong[50:]) / 100 > sum(weak[50:]) / 100 + 0.05


def pictures() -> tuple[nn.Module, Domain]:
    """A small network on 8 x 8 images, and a site to train it on."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Tanh(), nn.Linear(4, 1))
    images = torch.rand(40, 1, 8, 8)
    return net, Domain(images, images.mean((2, 3)))


def test_the_first_site_is_paired_with_itself_under_another_scanner() -> None:
    net, site = pictures()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    config = AlignmentConfig(weight=1e9)
    cosines = train_aligned(net, squared, site, [], config, optimizer=optimizer, iterations=5, batch=8, seed=0)
    assert cosines.orientational == []
    assert len(cosines.arbitrary) == 5
    assert all(0 < value < 1 for value in cosines.arbitrary)


def test_one_seed_gives_the_same_network() -> None:
    results = []
    for _ in range(2):
        net, site = pictures()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        train_aligned(net, squared, site, [], AlignmentConfig(), optimizer=optimizer, iterations=4, batch=8, seed=3)
        results.append(flat([parameter.detach() for parameter in net.parameters()]))
    assert torch.equal(*results)


class Counting(nn.Module):
    """Counts the slices that go through it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.seen = nn.Linear(64, 1), 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen += len(images)
        found: torch.Tensor = self.layer(images.flatten(1))
        return found


@pytest.mark.parametrize("orientational", [False, True])
@pytest.mark.parametrize("arbitrary", [False, True])
def test_an_iteration_sees_the_same_number_of_slices_whatever_is_on(orientational: bool, arbitrary: bool) -> None:
    net, site = Counting(), pictures()[1]
    config = AlignmentConfig(orientational=orientational, arbitrary=arbitrary)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    train_aligned(net, squared, site, [site], config, optimizer=optimizer, iterations=3, batch=16, seed=0)
    assert net.seen == 3 * 16
