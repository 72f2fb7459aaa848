"""SCAFFOLD: on quadratics it has the joint optimum as its fixed point, which federated averaging drifts from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sites.stream import Arrival
from sites.vault import Vault
from strategies.common.averaging import weighted_average
from strategies.scaffold import Config, ScaffoldServer, learn, train_corrected
from strategies.setting import Setting

# Site s has the loss h / 2 (x - a)^2; the mean of both is least at sum h a / sum h = 0.8.
CURVATURES, CENTRES = (1.0, 9.0), (-1.0, 1.0)
OPTIMUM = 0.8


class Point(nn.Module):
    """One parameter, which answers whatever it is given with itself."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.tensor([value]))

    def forward(self, images: Tensor) -> Tensor:
        return self.x


def loss_of(x: Tensor, site: Tensor) -> Tensor:
    return (site[0] / 2 * (x - site[1]).square()).sum()


def where_it_ends(*, correct: bool, rounds: int = 200, steps: int = 10) -> float:
    x = torch.zeros(1)
    control = [torch.zeros(1), torch.zeros(1)]
    parts = [[(torch.zeros(1), torch.tensor([h, a]))] * steps for h, a in zip(CURVATURES, CENTRES, strict=True)]
    for _ in range(rounds):
        mean, weights = sum(control) / 2, []
        for site in range(2):
            point = Point(float(x))
            optimizer = torch.optim.SGD(point.parameters(), lr=0.02)
            descent = optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)
            correction = {"x": (mean - control[site]) * correct}
            control[site] = train_corrected(point, loss_of, parts[site], correction, descent)["x"]
            weights.append({"x": point.x.detach()})
        x = weighted_average(weights, [1, 1])["x"]
    return float(x)


def test_it_removes_client_drift_on_a_quadratic_where_averaging_keeps_it() -> None:
    assert where_it_ends(correct=True) == pytest.approx(OPTIMUM, abs=1e-3)
    assert abs(where_it_ends(correct=False) - OPTIMUM) > 0.05


def test_a_variate_is_option_two_of_the_paper() -> None:
    point, rate, correction = Point(2.0), 0.02, torch.tensor([0.3])
    optimizer = torch.optim.SGD(point.parameters(), lr=rate)
    parts = [(torch.zeros(1), torch.tensor([9.0, 1.0]))] * 5
    descent = optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)
    own = train_corrected(point, loss_of, parts, {"x": correction}, descent)["x"]
    torch.testing.assert_close(own, (2.0 - point.x.detach()) / (5 * rate) - correction)


def test_variates_last_for_a_step_and_none_corrects_in_its_first_round(
    plain: Setting, disc: Callable[..., Arrival], tmp_path: Path
) -> None:
    server = ScaffoldServer(Config(), plain)
    vaults = {site: Vault(tmp_path / site, 1) for site in ("A", "B")}
    assert all(not value.any() for value in server.broadcast("A", 1).control.values())
    ups = {
        site: learn(Config(), plain, server.broadcast(site, 1), disc(site, shade=shade), vaults[site])
        for site, shade in (("A", 0.0), ("B", 0.4))
    }
    server.absorb(ups, 1)
    control = server.broadcast("A", 1).control
    for name, value in control.items():
        torch.testing.assert_close(value, (ups["A"].control[name] + ups["B"].control[name]) / 2)
    assert all(not value.any() for value in server.broadcast("A", 2).control.values())
    first, plainly = (
        learn(Config(correct=correct), plain, server.broadcast("A", 2), disc(step=2), vaults["A"]).segmenter
        for correct in (True, False)
    )
    assert all(torch.equal(first[name], plainly[name]) for name in first)
    assert int((vaults["A"].get("step") or {})["step"]) == 2


def test_a_lone_site_is_not_corrected_at_all(plain: Setting, disc: Callable[..., Arrival], tmp_path: Path) -> None:
    server, vault = ScaffoldServer(Config(), plain), Vault(tmp_path, 1)
    server.absorb({"A": learn(Config(), plain, server.broadcast("A", 1), disc(), vault)}, 1)
    down = server.broadcast("A", 1)
    corrected = learn(Config(), plain, down, disc(round_=2), vault).segmenter
    vault.keep("control", down.control)
    plainly = learn(Config(correct=False), plain, down, disc(round_=2), vault).segmenter
    assert all(torch.equal(corrected[name], plainly[name]) for name in corrected)
