"""VAE replay: its evidence bound against closed forms, what leaves, and that replays look like the site."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from sites.seeds import seed_of, seeded
from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Kind, Weights, manifest_of
from strategies.common.alignment import Batch, Domain
from strategies.common.rehearsal import Held, by_its_masks
from strategies.common.segmenter import slices_of
from strategies.setting import Setting
from strategies.vae_replay import (
    Config,
    VaeReplayServer,
    blank_upload,
    build_autoencoder,
    decoder_of,
    divergence,
    evidence_loss,
    learn,
    onto_codes,
    remake,
)

BRIEF = Config(widths=(4, 8), steps=2, replays=4, latent=3)

Disc = Callable[..., Arrival]


def test_the_divergence_is_that_of_two_gaussians() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, log_variance = torch.randn(4, 3, generator=generator), torch.randn(4, 3, generator=generator)
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum()
    torch.testing.assert_close(divergence(mean, log_variance), expected)


def test_the_evidence_loss_is_likelihood_and_divergence(plain: Setting, disc: Disc) -> None:
    images, masks = slices_of(disc().cases)
    pairs = torch.cat([images, masks.float()], dim=1)
    logits, mean, log_variance = torch.randn(pairs.shape), torch.randn(4, 3), torch.randn(4, 3)
    found = evidence_loss(lambda _: (logits, mean, log_variance, None), images, masks.float(), noise=0.2)
    image = -Normal(torch.sigmoid(logits[:, :1]), 0.2).log_prob(images) - 0.5 * math.log(2 * math.pi * 0.2**2)
    mask = -Bernoulli(logits=logits[:, 1:]).log_prob(masks.float())
    torch.testing.assert_close(found, (image.sum() + mask.sum() + divergence(mean, log_variance)) / 4)


def test_replays_look_like_the_site_and_carry_their_masks(plain: Setting, disc: Disc, tmp_path: Path) -> None:
    config = Config(widths=(8, 16), steps=300, latent=4)
    server = VaeReplayServer(config, plain)
    with seeded(1):
        server.absorb({"A": learn(config, plain, server.broadcast("A", 1), disc(), Vault(tmp_path, 1))}, 1)
    images, masks = slices_of(disc().cases)
    made, marks = server.replays(32)["A"]
    assert made.shape == marks.shape == (32, 1, 16, 16)
    assert float((made.mean(0) - images.mean(0)).abs().mean()) < 0.05
    assert float((marks.float().mean(0) - masks[0].float()).abs().mean()) < 0.05


def test_draws_from_the_prior_are_spread_as_the_codes_are(plain: Setting, disc: Disc) -> None:
    images, masks = slices_of(disc().cases)
    model = build_autoencoder(BRIEF, plain.shape, 0)
    moved = build_autoencoder(BRIEF, plain.shape, 0)
    moved.load_state_dict(onto_codes(model, images, masks.float()), strict=False)
    draws = torch.randn(200_000, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mean, log_variance = model.encode_forward(torch.cat([images, masks.float()], dim=1))
        codes = mean.repeat(50_000, 1) + (log_variance / 2).exp().repeat(50_000, 1) * draws
        drawn, wanted = moved.decodeL(draws), model.decodeL(codes)
    torch.testing.assert_close(drawn.mean(0), wanted.mean(0), atol=0.01, rtol=0)
    torch.testing.assert_close(torch.cov(drawn.T), torch.cov(wanted.T), atol=0.02, rtol=0)


def test_the_decoder_leaves_as_a_generator_and_the_encoder_stays(plain: Setting, disc: Disc, tmp_path: Path) -> None:
    vault, down = Vault(tmp_path, 1), VaeReplayServer(BRIEF, plain).broadcast("A", 1)
    up = learn(BRIEF, plain, down, disc(), vault)
    kept = vault.get("autoencoder") or {}
    assert up.decoder.keys() == decoder_of(kept).keys()
    assert {name.partition(".")[0] for name in kept if name not in up.decoder} == {"encode", "mu", "logvar"}
    kinds = {leaf.field: leaf.kind for leaf in manifest_of(blank_upload(BRIEF, plain, True))}
    assert kinds == {"segmenter": Kind.SEGMENTER, "decoder": Kind.GENERATOR}


def test_a_guard_makes_the_images_that_a_receiver_could(plain: Setting, disc: Disc, tmp_path: Path) -> None:
    server = VaeReplayServer(BRIEF, plain)
    down = server.broadcast("A", 1)
    up = learn(BRIEF, plain, down, disc(), Vault(tmp_path, 1))
    server.absorb({"A": up}, 1)
    maker = remake(BRIEF, plain, down, up, "A")
    assert maker is not None
    assert torch.equal(maker(4, seed_of(plain.seed, "replay", "A")), server.replays(4)["A"][0])


def test_the_third_site_counts_for_a_third(
    plain: Setting, disc: Disc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = []

    def rehearse(segmenter: Weights, setting: Setting, arrival: Arrival, past: list[Domain], held: Held) -> Weights:
        logits, batch = torch.zeros(2, 1, 4, 4), Batch(torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4))
        weights.append(float(held(logits, batch) / by_its_masks(logits, batch)))
        assert [len(domain.images) for domain in past] == {1: [4], 2: [2, 2]}.get(len(past), [])
        return segmenter

    monkeypatch.setattr("strategies.vae_replay.train_rehearsing", rehearse)
    setting = replace(plain, sites=("A", "B", "C"))
    server = VaeReplayServer(BRIEF, setting)
    for step, site in enumerate("ABC", start=1):
        down = server.broadcast(site, step)
        server.absorb({site: learn(BRIEF, setting, down, disc(site, step), Vault(tmp_path / site, step))}, step)
    assert weights == [0.0, 1.0, 2.0], "beside 1 for the site's own slices"
