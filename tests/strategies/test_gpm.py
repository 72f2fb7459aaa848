"""GPM: updates are orthogonal to the stored bases, so that a layer does to earlier inputs what it did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from simulator.schedule import read_schedule
from sites.seeds import seeded
from sites.stream import Arrival
from sites.vault import Vault
from strategies.gpm import convolutions, covariances, empty_basis, grown, inputs_of, projected

LAYERS = [
    nn.Conv2d(2, 3, 3, stride=2, padding=1),
    nn.Conv2d(2, 3, 1),
    nn.ConvTranspose2d(5, 3, 3, stride=2, padding=1, output_padding=1),
]


def basis_of(columns: torch.Tensor, threshold: float) -> torch.Tensor:
    wide = columns.double()
    return grown(torch.zeros(len(columns), len(columns)), wide @ wide.T, threshold)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__ + str(layer.kernel_size))
def test_a_projected_update_leaves_what_a_layer_does_to_earlier_inputs(layer: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (1, layer.in_channels, 4, 4)
    seen, fresh = (torch.randn(shape, generator=generator) for _ in range(2))
    if isinstance(layer, nn.Conv2d):
        seen, fresh = (torch.cat([one[:, :1], 2 * one[:, :1]], dim=1) for one in (seen, fresh))
        fresh[:, 1] *= -1
    else:
        seen = seen[:, :, :1, :1].expand(shape)
    basis = basis_of(inputs_of(layer, seen), 1 - 1e-12)
    update = torch.randn(layer.weight.shape, generator=generator)
    before_seen, before_fresh = layer(seen), layer(fresh)
    with torch.no_grad():
        layer.weight += projected(update, basis, layer)
    torch.testing.assert_close(layer(seen), before_seen, rtol=0, atol=2e-5)
    assert not torch.allclose(layer(fresh), before_fresh, atol=1e-2)


def test_the_basis_is_orthonormal_and_the_smallest_that_holds_the_threshold() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(6, 40, generator=generator) * torch.arange(6, 0, -1)[:, None] ** 2 for _ in range(2))
    basis = basis_of(first, 0.9)
    second = second.flip(0).double()
    wider = grown(basis, second @ second.T, 0.9)
    for found, columns in ((basis, first.double()), (wider, second)):
        used = found[:, found.any(dim=0)].double()
        torch.testing.assert_close(used.T @ used, torch.eye(used.shape[1], dtype=torch.float64), rtol=0, atol=1e-5)
        shares = ((used.T @ columns).square().sum(dim=1) / columns.square().sum()).cumsum(0)
        assert shares[-1] >= 0.9 - 1e-6
        assert shares[-2] < 0.9
    kept = basis.any(dim=0)
    assert torch.equal(wider[:, kept], basis[:, kept])
    assert int(wider.any(dim=0).sum()) > int(kept.sum())


def test_nothing_is_added_for_inputs_that_are_spanned_already() -> None:
    columns = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    basis = basis_of(columns, 1 - 1e-12)
    assert int(basis.any(dim=0).sum()) == 3
    again = grown(basis, (columns @ columns.T).double(), 0.99)
    assert torch.equal(again, basis)


def test_a_later_site_moves_no_weight_along_the_bases_and_no_bias(tiny: Callable[..., Path], tmp_path: Path) -> None:
    schedule = read_schedule(tiny(strategy={"name": "gpm", "threshold": 0.5}, arrivals=["A", "B"]))
    config, setting = schedule.strategy_config, schedule.setting
    server, downs = schedule.strategy.server(config, setting), {}
    for step, site in enumerate("AB", start=1):
        arrival = Arrival(site=site, step=step, round=1, cases=schedule.source.train(site, 0, 3), seed=step)
        with seeded(step):
            down = server.broadcast(site, step)
            downs[site] = {name: value.clone() for name, value in down.segmenter.items()}
            up = schedule.strategy.learn(config, setting, down, arrival, Vault(tmp_path, step))
            basis = down.basis
            server.absorb({site: up}, step)
    network = server.predictor("B")
    layers, moved = convolutions(network), 0.0
    for name, value in network.named_parameters():
        change = value.detach() - downs["B"][name]
        if name not in layers:
            assert not change.any()
            continue
        part = change.flatten(1).T if isinstance(layers[name], nn.ConvTranspose2d) else change.flatten(1)
        assert float((part @ basis[name]).abs().max()) < 1e-5
        moved += float(change.abs().sum())
    assert moved > 0


def test_covariances_are_those_of_the_patches_and_leave_no_hook() -> None:
    layer = nn.Conv2d(1, 2, 1)
    images = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(layer)
    assert covariances(network, images)["0.weight"].item() == pytest.approx(float(images.double().square().sum()))
    assert not layer._forward_pre_hooks
    assert empty_basis(network)["0.weight"].shape == (1, 1)
