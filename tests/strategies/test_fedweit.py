"""FedWeIT: what a site's weights are made of, what leaves, and what stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from sites.stream import Arrival
from sites.vault import Vault
from strategies.common.segmenter import build_segmenter, slices_of
from strategies.fedweit import Config, Decomposed, FedWeitServer, at_home, learn, split_weights
from strategies.setting import Setting

Disc = Callable[..., Arrival]


def test_weights_are_base_times_mask_plus_own_plus_attended(plain: Setting) -> None:
    network = build_segmenter(plain)
    names = split_weights(network.state_dict())
    others = {name: torch.stack([torch.ones_like(v), 2 * torch.ones_like(v)]) for name, v in names.items()}
    model = Decomposed(network, others)
    with torch.no_grad():
        for row in range(len(names)):
            model.mask[row][0] = 0.5
            model.own[row] += 0.25
            model.attention[row] += torch.tensor([1.0, -1.0])
    for name, value in model.composed().items():
        expected = names[name] - 0.75
        expected[0] = 0.5 * names[name][0] - 0.75
        torch.testing.assert_close(value, expected)


def test_a_site_is_scored_as_it_trained(plain: Setting, disc: Disc, tmp_path: Path) -> None:
    server, vault, arrival = FedWeitServer(Config(), plain), Vault(tmp_path, 1), disc()
    up = learn(Config(), plain, server.broadcast("A", 1), arrival, vault)
    images, _ = slices_of(arrival.cases)
    network = build_segmenter(plain)
    network.load_state_dict(dict(at_home(Config(), plain, up.base, images, vault)))
    base = build_segmenter(plain)
    base.load_state_dict(dict(up.base))
    model = Decomposed(base, {name: torch.zeros(1, *value.shape) for name, value in split_weights(up.base).items()})
    model.load_state_dict(vault.get("private") or {}, strict=False)
    torch.testing.assert_close(network.eval()(images), model.eval()(images))
    assert not any("mask" in key or "attention" in key for key in {*up.base, *up.adaptive})


def test_sparsity_makes_own_parameters_sparse(plain: Setting, disc: Disc, tmp_path: Path) -> None:
    down = FedWeitServer(Config(), plain).broadcast("A", 1)

    def share(sparsity: float) -> float:
        up = learn(Config(sparsity=sparsity), plain, down, disc(), Vault(tmp_path, 1))
        values = torch.cat([value.flatten() for value in up.adaptive.values()])
        return float((values == 0).float().mean())

    assert share(0.05) > share(0.0) + 0.1


def test_the_next_site_attends_to_the_first(plain: Setting, disc: Disc, tmp_path: Path) -> None:
    server = FedWeitServer(Config(), plain)
    server.absorb({"A": learn(Config(), plain, server.broadcast("A", 1), disc(), Vault(tmp_path / "A", 1))}, 1)
    vault = Vault(tmp_path / "B", 1)
    learn(Config(), plain, server.broadcast("B", 2), disc("B", 2, shade=0.3), vault)
    private = vault.get("private") or {}
    assert any(value.any() for key, value in private.items() if key.startswith("attention"))


def test_with_nothing_personal_it_is_federated_averaging(plain: Setting, disc: Disc, tmp_path: Path) -> None:
    config = Config(personal=False)
    up = learn(config, plain, FedWeitServer(config, plain).broadcast("A", 1), disc(), Vault(tmp_path, 1))
    assert all(not value.any() for value in up.adaptive.values())
