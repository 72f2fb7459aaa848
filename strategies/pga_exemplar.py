"""Parallel gradient alignment over real exemplars: what SMDR does with replays, done with the images themselves.

The setting of SMDR's predecessor: Zhang et al., "Learning towards Synchronous Network Memorizability and
Generalizability for Continual Segmentation across Multiple Sites", MICCAI 2022 (arXiv 2206.06813). Each site leaves a
few exemplars, and the next one aligns the gradient on its own cases with those on the exemplars of the sites before it.
The alignment is that of `strategies/common/alignment.py`, our reconstruction; exemplars are drawn at random, where the
paper also picks them for their diversity between sites.

Exemplars are real images with labels, so this needs `policy: reference-only`: it shows what generated replays cost.
"""

from __future__ import annotations

import torch

from sites.stream import Arrival
from sites.vault import Vault
from strategies import Strategy
from strategies.common.alignment import AlignmentConfig, Domain, train_aligned
from strategies.common.exemplar_relay import (
    Broadcast,
    ExemplarConfig,
    ExemplarServer,
    Upload,
    blank_broadcast,
    blank_upload,
    rows_of,
)
from strategies.common.exemplars import padded
from strategies.common.segmenter import build_segmenter, segmentation_loss, slices_of
from strategies.setting import Setting


class Config(ExemplarConfig):
    """Settings: `exemplars` is the number of slices kept of each site, `alignment` which terms are on.

    Without exemplars, and with both terms off, this is fine-tuning on slices drawn with replacement.
    """

    alignment: AlignmentConfig = AlignmentConfig()


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the segmenter on the current cases, aligned with the exemplars; then choose the site's own exemplars."""
    network = build_segmenter(setting)
    network.load_state_dict(dict(down.segmenter))
    images, masks = slices_of(arrival.cases)
    budget = setting.budget
    train_aligned(
        network,
        segmentation_loss,
        Domain(images, masks.float()),
        past_of(down),
        config.alignment,
        optimizer=torch.optim.AdamW(network.parameters(), lr=budget.learning_rate, fused=True),
        iterations=budget.iterations_a_round(len(images)),
        batch=budget.batch,
        augmentation=setting.augmentation,
        seed=arrival.seed,
    )
    last = arrival.round == budget.rounds
    rows = rows_of(config, setting)
    chosen = torch.randperm(len(images))[: rows if last else 0]
    return Upload(
        segmenter=dict(network.state_dict()),
        images=padded(images[chosen], rows),
        masks=padded(masks[chosen], rows),
        held=torch.tensor([len(chosen)]),
    )


def past_of(down: Broadcast) -> list[Domain]:
    """Return the exemplars that came down, a domain for each site that left some (the learning one's own too)."""
    ends = down.counts.cumsum(0).tolist()
    parts = [slice(end - count, end) for end, count in zip(ends, down.counts.tolist(), strict=True) if count]
    return [Domain(down.images[part], down.masks[part].float()) for part in parts]


STRATEGY = Strategy(
    family="replay",
    config=Config,
    server=ExemplarServer,
    learn=learn,
    blank_broadcast=blank_broadcast,
    blank_upload=blank_upload,
)
