"""Replays made from what sites released: each by its own generator, with others' masks where asked, or between two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from sites.seeds import seed_of
from sites.wire import Weights
from strategies.common.alignment import Domain
from strategies.common.averaging import weighted_average
from strategies.common.denoising import paint, sample, sample_masks
from strategies.common.modulation import ModulationConfig, new_generator
from strategies.common.retention import put
from strategies.setting import Setting


def make_replays(
    config: ModulationConfig, setting: Setting, weights: Mapping[str, Weights], count: int
) -> dict[str, Domain]:
    """Make `count` pairs with each site's weights; the same weights make the same pairs."""
    generator = new_generator(config, setting)
    seeds = {site: seed_of(setting.seed, "replay", site) for site in weights}
    if not config.mingles:
        return {site: Domain(*sample(put(generator, own), count, seeds[site])) for site, own in weights.items()}
    masks = {
        site: sample_masks(put(generator, moved), count, seeds[site])
        for site, moved in _gathered(weights, config.consensus).items()
    }
    if config.masks == "shared":
        masks = _dealt(masks)
    return {
        site: Domain(*paint(put(generator, own), masks[site], seed_of(setting.seed, "painting", site)))
        for site, own in weights.items()
    }


def _gathered(weights: Mapping[str, Weights], share: float) -> Mapping[str, Weights]:
    """Move everyone's weights by a share of the way to their mean.

    As those of networks that began at the same place may be averaged (Wortsman et al., ICML 2022, "model soups").
    """
    if not (weights and share):
        return weights
    mean = weighted_average(list(weights.values()), [1.0] * len(weights))
    return {
        site: {name: torch.lerp(value, mean[name], share) for name, value in own.items()}
        for site, own in weights.items()
    }


def _dealt(masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Deal out everyone's masks [N, S, H, W]: each site gets N again, as many of one site's as of another's."""
    sites = len(masks)
    return {
        site: torch.cat([one[(row + other) % sites :: sites] for other, one in enumerate(masks.values())])
        for row, site in enumerate(masks)
    }


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
