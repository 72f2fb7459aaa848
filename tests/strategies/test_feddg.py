"""FedDG: amplitudes are exchanged and phases kept, and amplitudes leave as what they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Kind, manifest_of
from strategies.common.segmenter import build_segmenter, segmentation_loss, slices_of
from strategies.feddg import Config, FedDGServer, blank_upload, episode, exchanged, learn, low_amplitudes
from strategies.setting import Setting

Disc = Callable[..., Arrival]


def test_an_exchange_keeps_every_phase_and_mixes_low_amplitudes() -> None:
    images = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    other = 1 + low_amplitudes(images.flip(0), 3, 5)
    shares = torch.tensor([0.25, 1.0])
    found = exchanged(images, other, shares)
    before, after = torch.fft.fft2(images), torch.fft.fft2(found)
    torch.testing.assert_close(torch.exp(1j * before.angle()), torch.exp(1j * after.angle()), rtol=1e-3, atol=1e-3)
    mixed = torch.lerp(low_amplitudes(images, 3, 5), other, shares.view(-1, 1, 1, 1))
    torch.testing.assert_close(low_amplitudes(found, 3, 5), mixed, rtol=1e-4, atol=1e-4)
    changed = (after.abs() - before.abs()).abs() > 1e-3
    assert changed.sum(dim=(1, 2, 3)).le(15).all()


def test_a_share_of_none_changes_nothing() -> None:
    images = torch.rand(2, 1, 15, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(exchanged(images, torch.rand(2, 1, 3, 3), torch.zeros(2)), images)


def test_amplitudes_leave_as_a_statistic_and_only_where_they_are_exchanged(plain: Setting) -> None:
    kinds = {leaf.field: leaf.kind for leaf in manifest_of(blank_upload(Config(), plain, True))}
    assert kinds == {"segmenter": Kind.SEGMENTER, "amplitudes": Kind.STATISTIC, "cases": Kind.COUNT}
    without = manifest_of(blank_upload(Config(exchange=False), plain, True))
    assert Kind.STATISTIC not in {leaf.kind for leaf in without}


def test_only_the_low_frequencies_of_a_few_slices_leave(plain: Setting, disc: Disc, tmp_path: Path) -> None:
    config = Config(spectra=2, window=0.2)
    up = learn(config, plain, FedDGServer(config, plain).broadcast("A", 1), disc(), Vault(tmp_path, 1))
    assert up.amplitudes["low"].shape == (2, 1, 3, 3)
    images, _ = slices_of(disc().cases)
    mean = up.amplitudes["low"][:, 0, 1, 1] / 256
    assert all((images.mean((1, 2, 3)) - one).abs().min() < 1e-5 for one in mean)


def test_the_episode_is_its_definition(plain: Setting, disc: Disc) -> None:
    images, masks = slices_of(disc().cases)
    changed, masks = images * 0.5, masks.float()
    config = Config(inner=0.1)
    network = build_segmenter(plain).eval()
    found = episode(network, images, changed, masks, config)
    loss = segmentation_loss(network(images), masks)
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    moved = build_segmenter(plain).eval()
    with torch.no_grad():
        for value, gradient in zip(moved.parameters(), gradients, strict=True):
            value.sub_(0.1 * gradient)
    torch.testing.assert_close(found, loss + segmentation_loss(moved(changed), masks))


def test_a_later_site_sees_the_appearance_of_one_that_has_left(plain: Setting, disc: Disc, tmp_path: Path) -> None:
    trained = []
    for exchange in (True, False):
        config = Config(exchange=exchange)
        server = FedDGServer(config, plain)
        server.absorb({"A": learn(config, plain, server.broadcast("A", 1), disc(), Vault(tmp_path, 1))}, 1)
        down = server.broadcast("B", 2)
        assert down.shared.tolist() == [int(exchange), 0]
        trained.append(learn(config, plain, down, disc("B", 2, shade=0.5), Vault(tmp_path, 1)).segmenter)
    assert any(not torch.equal(trained[0][name], trained[1][name]) for name in trained[0])
