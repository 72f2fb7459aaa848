"""FedCurv: its penalty against the closed form, and the curvature that it is made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from sites.stream import Arrival
from sites.vault import Vault
from strategies.common.fisher import fisher_diagonal
from strategies.common.segmenter import build_segmenter
from strategies.fedcurv import Config, FedCurvServer, Upload, curvature, learn
from strategies.setting import Setting


def random_upload(setting: Setting, seed: int) -> Upload:
    generator = torch.Generator().manual_seed(seed)
    network = build_segmenter(setting)
    fisher = {name: torch.rand(value.shape, generator=generator) for name, value in network.named_parameters()}
    weights = dict(network.state_dict())
    weights |= {name: torch.randn(value.shape, generator=generator) for name, value in fisher.items()}
    return Upload(segmenter=weights, fisher=fisher, cases=torch.tensor([1]))


def test_the_penalty_is_the_sum_of_all_others_up_to_its_constant(plain: Setting) -> None:
    ups = {site: random_upload(plain, seed) for seed, site in enumerate("ABC")}
    server, network = FedCurvServer(Config(), plain), build_segmenter(plain)
    server.absorb(ups, 1)
    down = server.broadcast("B", 1)
    long = sum(
        (ups[site].fisher[name] * (value - ups[site].segmenter[name]).square()).sum()
        for site in "AC"
        for name, value in network.named_parameters()
    )
    constant = sum((up.fisher[n] * up.segmenter[n].square()).sum() for up in (ups["A"], ups["C"]) for n in up.fisher)
    torch.testing.assert_close(curvature(network, down.fisher, down.pull) + constant, long)


def test_a_site_that_left_still_holds_the_others(plain: Setting, disc: Callable[..., Arrival], tmp_path: Path) -> None:
    server = FedCurvServer(Config(), plain)
    assert all(not value.any() for value in server.broadcast("A", 1).fisher.values())
    server.absorb({"A": learn(Config(), plain, server.broadcast("A", 1), disc(), Vault(tmp_path, 1))}, 1)
    assert any(value.any() for value in server.broadcast("B", 2).fisher.values())
    assert all(not value.any() for value in server.broadcast("A", 2).fisher.values())

    def moved(strength: float) -> float:
        down = server.broadcast("B", 2)
        up = learn(Config(strength=strength), plain, down, disc("B", 2, shade=0.5), Vault(tmp_path, 1))
        return float(sum((down.fisher[n] * (up.segmenter[n] - down.segmenter[n]) ** 2).sum() for n in down.fisher))

    assert moved(1000.0) < moved(0.0)


def test_the_fisher_of_a_logistic_unit_is_its_closed_form() -> None:
    """For one weight w and input x, E[(x (p - y))^2] = x^2 p (1 - p), summed over pixels of independent labels."""
    unit = torch.nn.Conv2d(1, 1, 1, bias=False)
    images = torch.full((400, 1, 4, 4), 2.0)
    p = torch.sigmoid(2.0 * unit.weight.detach()).item()
    found = fisher_diagonal(unit, images, seed=0)["weight"].item()
    assert abs(found / (4 * p * (1 - p)) - 1) < 0.2
