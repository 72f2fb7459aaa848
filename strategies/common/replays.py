"""Replays made from what sites released: each by its own generator, with others' masks where asked, or between two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

import torch
from torch import nn

from sites.seeds import seed_of
from sites.wire import Weights
from strategies.common.alignment import Domain
from strategies.common.denoising import paint, sample, sample_masks
from strategies.common.diffusion import Generator
from strategies.common.modulation import ModulationConfig, new_generator
from strategies.common.recognition import most_recognised
from strategies.common.retention import put
from strategies.setting import Setting

CHUNK = 16
Made = dict[tuple[str, str], Domain]


def make_replays(
    config: ModulationConfig, setting: Setting, weights: Mapping[str, Weights], count: int, made: Made | None = None
) -> dict[str, Domain]:
    """Make `count` pairs for each site, as `config.masks` says; the same weights make the same pairs.

    Where only a share is to be kept (`config.keep`), more are made, and those kept that show best whose they are.

    made: pairs made before with the same weights, by whose look and whose masks they have; new ones are added
    """
    made = {} if made is None else made
    if config.keep == 1:
        return _make(config, setting, weights, count, made)
    more = _make(config, setting, weights, ceil(count / config.keep), made)
    return most_recognised(more, count, seed_of(setting.seed, "recognition", *weights))


def _make(
    config: ModulationConfig, setting: Setting, weights: Mapping[str, Weights], count: int, made: Made
) -> dict[str, Domain]:
    if config.masks == "shared":
        return _with_shared_masks(config, setting, weights, count, made)
    new = {site: own for site, own in weights.items() if (site, site) not in made}
    made |= {(site, site): pairs for site, pairs in make_own(config, setting, new, count).items()}
    return {site: made[site, site] for site in weights}


def make_own(
    config: ModulationConfig, setting: Setting, weights: Mapping[str, Weights], count: int
) -> dict[str, Domain]:
    """Make `count` pairs with each site's weights, image and mask."""
    generator = new_generator(config, setting)
    return {
        site: Domain(*sample(put(generator, own), count, seed_of(setting.seed, "replay", site)))
        for site, own in weights.items()
    }


def _with_shared_masks(
    config: ModulationConfig, setting: Setting, weights: Mapping[str, Weights], count: int, made: Made
) -> dict[str, Domain]:
    """Make images with each site's look for masks of everyone's generators, in equal parts.

    With each newcomer the parts are fewer, so of pairs made before some fall away, and none is made again.
    """
    generator, sites, mixed = new_generator(config, setting), len(weights), {}
    for row, look in enumerate(weights):
        parts = []
        for column, other in enumerate(weights):
            if (look, other) not in made:
                made[look, other] = _borrow(generator, setting, weights, (look, other), -(-count // sites))
            pairs, wanted = made[look, other], (count + (row + column) % sites) // sites
            parts.append((pairs.images[:wanted], pairs.masks[:wanted], torch.arange(wanted)))
        images, masks, places = (torch.cat(part) for part in zip(*parts, strict=True))
        in_turn = places.argsort(stable=True)
        mixed[look] = Domain(images[in_turn], masks[in_turn])
    return mixed


def _borrow(
    generator: Generator, setting: Setting, weights: Mapping[str, Weights], whose: tuple[str, str], least: int
) -> Domain:
    """Make images with one site's look for another's masks, in whole chunks: the first are the same, however many."""
    look, other = whose
    parts = []
    for chunk in range(-(-least // CHUNK)):
        seeds = [seed_of(setting.seed, part, *whose, chunk) for part in ("borrowed masks", "painting")]
        masks = sample_masks(put(generator, weights[other]), CHUNK, seeds[0])
        parts.append(paint(put(generator, weights[look]), masks, seeds[1]))
    return Domain(*(torch.cat(part) for part in zip(*parts, strict=True)))


def make_virtual(
    config: ModulationConfig, setting: Setting, weights: Mapping[str, Weights], count: int, mixes: int = 4
) -> Domain:
    """Make `count` pairs of sites that might be: the weights of two sites, mixed at random, `mixes` times."""
    seed = seed_of(setting.seed, "virtual", len(weights))
    generator, draws = new_generator(config, setting), torch.Generator().manual_seed(seed)
    parts = []
    for mix in range(mixes):
        one, two = (list(weights.values())[int(row)] for row in torch.randperm(len(weights), generator=draws)[:2])
        share = 0.2 + 0.6 * float(torch.rand((), generator=draws))
        between = {name: torch.lerp(one[name], two[name], share) for name in one}
        parts.append(sample(put(generator, between), -(-count // mixes), seed + mix))
    return Domain(*(torch.cat(part)[:count] for part in zip(*parts, strict=True)))


def with_masks(config: ModulationConfig, segmenter: nn.Module, past: Sequence[Domain]) -> Sequence[Domain]:
    """Return replays of past sites with the masks that settings ask for; segmented ones are float32 in 0..1."""
    if config.masks != "segmented":
        return past
    segmenter.eval()
    with torch.no_grad():
        return [Domain(domain.images, torch.sigmoid(segmenter(domain.images))) for domain in past]
