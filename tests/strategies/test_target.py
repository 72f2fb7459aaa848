"""TARGET: nothing but the segmenter leaves, and a later site is held to what the old one said of the made images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from simulator.schedule import read_schedule
from sites.errors import ConfigError
from sites.seeds import seeded
from sites.stream import Arrival
from sites.vault import Vault
from strategies.common.segmenter import build_segmenter
from strategies.setting import Budget, Setting
from strategies.target import Config, TargetServer, learn

Disc = Callable[..., Arrival]

BRIEF = Config(images=8, batch=4, width=4, latent=4, steps=2, student_steps=1)


def after_one_site(config: Config, setting: Setting, arrival: Arrival, vault: Path) -> TargetServer:
    server = TargetServer(config, setting)
    with seeded(1):
        server.absorb({"A": learn(config, setting, server.broadcast("A", 1), arrival, Vault(vault, 1))}, 1)
    return server


def test_there_are_no_images_before_a_site_is_done(plain: Setting, disc: Disc, tmp_path: Path) -> None:
    setting = replace(plain, budget=Budget(iterations=2, batch=4, rounds=2))
    server = TargetServer(BRIEF, setting)
    for round_ in (1, 2):
        down = server.broadcast("A", 1)
        assert not down.made
        assert not down.images.any()
        with seeded(round_):
            server.absorb({"A": learn(BRIEF, setting, down, disc(round_=round_), Vault(tmp_path, round_))}, 1)
    down = server.broadcast("B", 2)
    assert down.made
    assert down.images.shape == (8, 1, 16, 16)
    assert len(torch.unique(down.images, dim=0)) == 8


def test_a_resumed_server_makes_the_same_images(plain: Setting, disc: Disc, tmp_path: Path) -> None:
    server, again = after_one_site(BRIEF, plain, disc(), tmp_path), TargetServer(BRIEF, plain)
    again.load_state_dict(server.state_dict())
    with seeded(7):
        found = again.broadcast("B", 2)
    assert torch.equal(found.images, server.broadcast("B", 2).images)
    assert not any("image" in name for name in server.state_dict()), "they are made anew"


def test_a_later_site_keeps_what_the_old_segmenter_says_of_the_images(
    plain: Setting, disc: Disc, tmp_path: Path
) -> None:
    setting = replace(plain, budget=Budget(iterations=40, batch=4, learning_rate=1e-2))
    down = after_one_site(BRIEF, setting, disc(), tmp_path).broadcast("B", 2)
    old = build_segmenter(setting).eval()
    old.load_state_dict(dict(down.old))
    distances = []
    for strength in (0.0, 100.0):
        config = BRIEF.model_copy(update={"distillation": strength})
        with seeded(2):
            up = learn(config, setting, down, disc("B", 2, shade=0.6), Vault(tmp_path, 2))
        network = build_segmenter(setting).eval()
        network.load_state_dict(dict(up.segmenter))
        with torch.no_grad():
            difference = torch.sigmoid(network(down.images)) - torch.sigmoid(old(down.images))
        distances.append(float(difference.square().mean()))
    assert distances[1] < distances[0] / 2, distances


def test_without_running_statistics_it_says_what_to_set(tiny: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match=r"set network\.norm to 'batch'"):
        read_schedule(tiny(strategy="target", network={"widths": [4, 8], "norm": "instance"})).check()
