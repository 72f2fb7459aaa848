"""Alignment against its theory: Taylor error, order of the pair, exact against first order, and what it does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from strategies.common.alignment import AlignmentConfig, Batch, Domain, aligned_gradient, train_aligned
from strategies.setting import Augmentation


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


def trained(**settings: float) -> tuple[list[float], list[float]]:
    """Train on the two; they hold no images, so no scanner is simulated."""
    torch.manual_seed(0)
    config = AlignmentConfig.model_validate({**settings, "scanners": False})
    net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    old, new = conflicting_sites()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    cosines = train_aligned(net, squared, new, [old], config, optimizer=optimizer, iterations=150, batch=32, seed=0)
    return cosines.orientational, cosines.arbitrary


def test_each_term_is_on_a_switch_of_its_own() -> None:
    for orientational in (False, True):
        for arbitrary in (False, True):
            counts = [len(part) for part in trained(orientational=orientational, arbitrary=arbitrary)]
            assert [count > 0 for count in counts] == [orientational, arbitrary]
            assert sum(counts) == 150 if orientational else sum(counts) < 150


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 3.0])
def test_the_weight_says_how_often_the_arbitrary_term_is_drawn(weight: float) -> None:
    orientational, arbitrary = trained(weight=weight)
    assert len(orientational) + len(arbitrary) == 150
    assert len(arbitrary) / 150 == pytest.approx(weight / (1 + weight), abs=0.12)


def test_a_strong_alignment_turns_the_gradients_of_conflicting_sites_towards_each_other() -> None:
    weak = trained(arbitrary=False, inner_step=1e-6)[0]
    strong = trained(arbitrary=False, inner_step=1.0, exact=True)[0]
    assert sum(strong[50:]) / 100 > sum(weak[50:]) / 100 + 0.05


def pictures() -> tuple[nn.Module, Domain]:
    """A small network on 8 x 8 images, and a site to train it on."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Tanh(), nn.Linear(4, 1))
    images = torch.rand(40, 1, 8, 8)
    return net, Domain(images, (images > 0.5).float())


def of_mean(prediction: Tensor, masks: Tensor) -> Tensor:
    """Ask for the share of an image that is masked."""
    return squared(prediction, masks.mean((2, 3)))


def test_the_first_site_is_paired_with_itself_under_another_scanner() -> None:
    net, site = pictures()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    config = AlignmentConfig(weight=1e9)
    cosines = train_aligned(net, of_mean, site, [], config, optimizer=optimizer, iterations=5, batch=8, seed=0)
    assert cosines.orientational == []
    assert len(cosines.arbitrary) == 5
    assert all(0 < value < 1 for value in cosines.arbitrary)


def test_one_seed_gives_the_same_network() -> None:
    results = []
    for _ in range(2):
        net, site = pictures()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        train_aligned(net, of_mean, site, [], AlignmentConfig(), optimizer=optimizer, iterations=4, batch=8, seed=3)
        results.append(flat([parameter.detach() for parameter in net.parameters()]))
    assert torch.equal(*results)


class Counting(nn.Module):
    """Keeps the slices that go through it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.shown = nn.Linear(64, 1), list[Tensor]()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.shown.append(images)
        found: torch.Tensor = self.layer(images.flatten(1))
        return found


@pytest.mark.parametrize("arbitrary", [False, True])
@pytest.mark.parametrize(
    ("past", "augmentation", "changed"), [(0, "none", True), (1, "none", False), (1, "standard", True)]
)
def test_other_scanners_are_simulated_where_there_is_augmentation_and_at_the_first_site(
    arbitrary: bool, past: int, augmentation: Augmentation, changed: bool
) -> None:
    nets = Counting(), Counting()
    for net, scanners in zip(nets, (False, True), strict=True):
        site = pictures()[1]
        config = AlignmentConfig(orientational=arbitrary, arbitrary=arbitrary, scanners=scanners)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        train_aligned(
            *(net, of_mean, site, [site] * past, config),
            **{"optimizer": optimizer, "iterations": 3, "batch": 8, "seed": 0, "augmentation": augmentation},
        )
    assert torch.equal(*(torch.cat(net.shown) for net in nets)) is not changed


def test_after_averaging_batch_norms_measure_every_site_alike() -> None:
    sites = [Domain(torch.full((9, 1, 8, 8), level), torch.zeros(9, 1, 8, 8)) for level in (0.1, 0.4, 0.7)]
    net = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    train_aligned(
        net, of_mean, sites[0], sites[1:], AlignmentConfig(), optimizer=optimizer, iterations=4, batch=8, seed=0
    )
    assert float(net[0].running_mean) == pytest.approx(0.4)


@pytest.mark.parametrize(("averaged", "decay"), [(0.0, 0.0), (0.5, 0.5), (1.0, 0.75)])
def test_the_weights_end_as_their_moving_average(averaged: float, decay: float) -> None:
    passed: list[Tensor] = []

    class Noting(torch.optim.SGD):
        def step(self, closure: None = None) -> None:
            rates.append(self.param_groups[0]["lr"])
            super().step(closure)
            passed.append(flat([parameter.detach().clone() for parameter in net.parameters()]))

    rates: list[float] = []
    net, site = pictures()
    config, optimizer = AlignmentConfig(averaged=averaged), Noting(net.parameters(), lr=0.1)
    train_aligned(net, of_mean, site, [], config, optimizer=optimizer, iterations=4, batch=8, seed=0)
    expected = passed[0]
    for weights in passed[1:]:
        expected = decay * expected + (1 - decay) * weights
    assert torch.allclose(flat([parameter.detach() for parameter in net.parameters()]), expected, atol=1e-6)
    assert (rates == [0.1] * 4) is bool(averaged)


@pytest.mark.parametrize("orientational", [False, True])
@pytest.mark.parametrize("arbitrary", [False, True])
def test_an_iteration_sees_the_same_number_of_slices_whatever_is_on(orientational: bool, arbitrary: bool) -> None:
    net, site = Counting(), pictures()[1]
    config = AlignmentConfig(orientational=orientational, arbitrary=arbitrary)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    train_aligned(net, of_mean, site, [site], config, optimizer=optimizer, iterations=3, batch=16, seed=0)
    assert sum(map(len, net.shown)) == 3 * 16
