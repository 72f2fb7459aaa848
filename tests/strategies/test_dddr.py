"""DDDR: the generator stays frozen, an embedding fits its site, and replays are held in two ways."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sites.ledger import read_rows
from sites.seeds import seeded
from sites.stream import Arrival
from sites.vault import Vault
from strategies.common.denoising import Corruption
from strategies.common.retention import denoising_loss, put
from strategies.common.segmenter import build_segmenter, slices_of
from strategies.dddr import Config, DddrServer, Upload, frozen_generator, learn
from strategies.setting import Budget, Setting

Disc = Callable[..., Arrival]

BRIEF = Config(steps=2, replays=4, sampling_steps=2)


def first(config: Config, setting: Setting, arrival: Arrival, vault: Path) -> tuple[DddrServer, Upload]:
    server = DddrServer(config, setting)
    with seeded(1):
        up = learn(config, setting, server.broadcast("A", 1), arrival, Vault(vault, 1))
    server.absorb({"A": up}, 1)
    return server, up


def test_an_embedding_fits_its_site_better_than_the_one_it_began_as(plain: Setting, disc: Disc, tmp_path: Path) -> None:
    config = BRIEF.model_copy(update={"steps": 40})
    _, up = first(config, plain, disc(), tmp_path)
    losses = []
    for embedding in ({}, up.embedding):
        generator = put(frozen_generator(config, plain), embedding).eval()
        corrupt = Corruption(generator, torch.Generator().manual_seed(9))
        pairs = generator.fold(*slices_of(disc().cases)).repeat(32, 1, 1, 1)
        with torch.no_grad():
            losses.append(float(denoising_loss(generator, pairs, corrupt)))
    assert losses[1] < 0.9 * losses[0], losses


def test_nothing_of_the_generator_but_the_token_changes(plain: Setting, disc: Disc, tmp_path: Path) -> None:
    server, up = first(BRIEF, plain, disc(), tmp_path)
    shipped, own = frozen_generator(BRIEF, plain).state_dict(), server.generators()["A"].state_dict()
    assert {name for name, value in shipped.items() if not torch.equal(value, own[name])} == {"token"}
    assert torch.equal(own["token"], up.embedding["token"])


def test_a_site_releases_sixty_four_numbers_beside_the_segmenter(
    run_tiny: Callable[..., Path], small: Callable[[str], dict[str, object]]
) -> None:
    folder = run_tiny(strategy=small("dddr"))
    rows = [row for row in read_rows(folder / "receipts.jsonl") if row["purpose"] == "learn"]
    assert {row["kind"] for row in rows} == {"segmenter", "prompt"}
    assert [row["bytes"] for row in rows if row["kind"] == "prompt"] == [4 * 64] * 2


@pytest.mark.parametrize("weight", ["labels", "distillation"])
def test_each_loss_on_replays_is_on_its_own_switch(weight: str, plain: Setting, disc: Disc, tmp_path: Path) -> None:
    trained = []
    for strength in (0.0, 1.0):
        config = BRIEF.model_copy(update={"labels": 0.0, "distillation": 0.0, weight: strength})
        server, _ = first(config, plain, disc(), tmp_path)
        with seeded(2):
            up = learn(config, plain, server.broadcast("B", 2), disc("B", 2, shade=0.5), Vault(tmp_path, 2))
        trained.append(up.segmenter)
    assert any(not torch.equal(value, trained[1][name]) for name, value in trained[0].items())


def test_distillation_keeps_what_the_old_segmenter_says_of_replays(plain: Setting, disc: Disc, tmp_path: Path) -> None:
    setting = Setting(**{**vars(plain), "budget": Budget(iterations=40, batch=4, learning_rate=1e-2)})
    server, _ = first(BRIEF, setting, disc(), tmp_path)
    down, images = server.broadcast("B", 2), server.replays(16)["A"][0]
    old = build_segmenter(setting)
    old.load_state_dict(dict(down.old))
    distances = []
    for strength in (0.0, 100.0):
        config = BRIEF.model_copy(update={"labels": 0.0, "distillation": strength, "replays": 16})
        with seeded(2):
            up = learn(config, setting, down, disc("B", 2, shade=0.6), Vault(tmp_path, 2))
        network = build_segmenter(setting)
        network.load_state_dict(dict(up.segmenter))
        with torch.no_grad():
            difference = torch.sigmoid(network.eval()(images)) - torch.sigmoid(old.eval()(images))
        distances.append(float(difference.square().mean()))
    assert distances[1] < distances[0] / 2, distances
