"""Whose masks a replay has, and whose look."""

from __future__ import annotations

import pytest
import torch

from sites.seeds import seed_of
from strategies import State
from strategies.common.alignment import Domain
from strategies.common.denoising import paint, sample_masks
from strategies.common.modulation import ModulationConfig, new_generator
from strategies.common.replays import make_replays
from strategies.common.retention import put
from strategies.setting import Setting

COUNT = 5
AGREED = {"consensus": 0.5}


def config(**changed: object) -> ModulationConfig:
    tiny = {"start": "random", "widths": [8, 16], "sampling_steps": 4}
    return ModulationConfig.model_validate({"diffusion": tiny, **changed})


def weights(setting: Setting, shifts: dict[str, float]) -> dict[str, State]:
    fresh = new_generator(config(), setting).state_dict()
    return {site: {name: value + shift for name, value in fresh.items()} for site, shift in shifts.items()}


def made(setting: Setting, changed: dict[str, object], **shifts: float) -> dict[str, Domain]:
    return make_replays(config(**changed), setting, weights(setting, shifts), COUNT)


def same(one: Domain, other: Domain) -> bool:
    return torch.equal(one.images, other.images) and torch.equal(one.masks, other.masks)


@pytest.mark.parametrize(("changed", "kept"), [({}, True), (AGREED, False), ({"masks": "shared"}, False)])
def test_a_newcomer_has_a_say_in_earlier_replays_where_settings_let_it(
    changed: dict[str, object], kept: bool, plain: Setting
) -> None:
    one, other = (made(plain, changed, A=0.0, B=shift) for shift in (0.02, -0.02))
    assert same(one["A"], other["A"]) is kept
    assert not same(one["B"], other["B"])


def test_at_full_consensus_masks_are_those_of_the_mean_generator_and_looks_are_each_sites_own(plain: Setting) -> None:
    sites, seed = {"A": 0.0, "B": 0.02, "C": 0.04}, seed_of(plain.seed, "replay", "A")
    found = made(plain, {"consensus": 1.0}, **sites)
    generator, own = new_generator(config(), plain), weights(plain, sites)
    masks = sample_masks(put(generator, own["B"]), COUNT, seed)
    agreed = Domain(*paint(put(generator, own["A"]), masks, seed_of(plain.seed, "painting", "A")))
    assert torch.equal(found["A"].masks, agreed.masks), "B lies midway between A and C"
    assert torch.allclose(found["A"].images, agreed.images, atol=1e-4)


def test_one_site_agrees_with_itself(plain: Setting) -> None:
    assert torch.equal(made(plain, AGREED, A=0.02)["A"].masks, made(plain, {"masks": "shared"}, A=0.02)["A"].masks)


def test_shared_masks_are_everyones_and_each_is_shown_once(plain: Setting) -> None:
    sites = {"A": 0.0, "B": 0.02, "C": -0.02}
    found = made(plain, {"masks": "shared"}, **sites)
    assert {len(domain.masks) for domain in found.values()} == {COUNT}
    assert not same(found["A"], made(plain, {"masks": "shared"}, A=0.0)["A"])
    generator = new_generator(config(), plain)
    drawn = [
        paint(generator, sample_masks(put(generator, own), COUNT, seed_of(plain.seed, "replay", site)), seed=0)[1]
        for site, own in weights(plain, sites).items()
    ]
    everyones = sorted(map(tuple, torch.cat(drawn).flatten(1).tolist()))
    assert everyones == sorted(map(tuple, torch.cat([domain.masks for domain in found.values()]).flatten(1).tolist()))
