"""Experience replay: every batch holds real slices of earlier sites beside those of the newest.

Chaudhry et al., "On Tiny Episodic Memories in Continual Learning", 2019 (arXiv 1902.10486), with their reservoir: a
buffer of fixed size in which every slice ever seen is kept with the same probability. A site trains on batches of its
own cases, each joined by a batch from the buffer that came down; it then releases the slices that the reservoir takes.

Exemplars are real images with their labels, so this needs `policy: reference-only`. No hospital would run it: it shows
what a method without stored images should reach.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from sites.seeds import seed_of
from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Kind, Payload, Weights
from strategies import Strategy
from strategies.common.exemplars import blank_rows, padded, rehearsals
from strategies.common.reservoir import (
    ReservoirConfig,
    ReservoirServer,
    blank_broadcast,
    blank_upload,
    chosen_of,
    rows_of,
)
from strategies.common.segmenter import (
    build_segmenter,
    descend,
    descent_of,
    minibatches,
    segmentation_loss,
    slices_of,
)
from strategies.setting import Setting


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: the segmenter, the exemplars, how many of each site, and how many slices went by."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    images: Annotated[Tensor, Kind.IMAGE]
    masks: Annotated[Tensor, Kind.LABEL]
    counts: Annotated[Tensor, Kind.COUNT]
    seen: Annotated[Tensor, Kind.COUNT]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: the segmenter, and in a step's last round its exemplars.

    images: float32 [rows, channels, height, width]; masks: uint8 [rows, structures, height, width];
    held: int64 [1], the number of rows that are not blank; slices: int64 [1], of how many they were drawn
    """

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    images: Annotated[Tensor, Kind.IMAGE]
    masks: Annotated[Tensor, Kind.LABEL]
    held: Annotated[Tensor, Kind.LABEL]
    slices: Annotated[Tensor, Kind.COUNT]


def blank_kept(setting: Setting, rows: int, device: str) -> dict[str, Tensor]:
    """Return blank exemplars: `images` and `masks`."""
    return blank_rows(setting.shape, rows, device)


def learn(config: ReservoirConfig, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the segmenter on the current cases and the exemplars; then choose the site's own exemplars."""
    network = build_segmenter(setting)
    network.load_state_dict(dict(down.segmenter))
    images, masks = slices_of(arrival.cases)
    iterations = setting.budget.iterations_a_round(len(images))
    held = int(down.counts.sum())
    memory = rehearsals(setting, down.images[:held], down.masks[:held], iterations, seed_of(arrival.seed, "memory"))
    descent = descent_of(network, setting, iterations)
    network.train()
    current = minibatches(setting, images, masks, iterations, arrival.seed)
    for (some, their_masks), (old, old_masks) in zip(current, memory, strict=True):
        logits = network(torch.cat([some, old]))
        descend(segmentation_loss(logits, torch.cat([their_masks, old_masks])), descent)
    chosen = chosen_of(config, setting, down.seen, arrival, len(images))
    rows = rows_of(config, setting)
    return Upload(
        segmenter=dict(network.state_dict()),
        images=padded(images[chosen], rows),
        masks=padded(masks[chosen], rows),
        held=torch.tensor([len(chosen)]),
        slices=torch.tensor([len(images)]),
    )


STRATEGY = Strategy(
    family="replay",
    config=ReservoirConfig,
    server=lambda config, setting: ReservoirServer(config, setting, Broadcast, blank_kept),
    learn=learn,
    blank_broadcast=lambda config, setting: blank_broadcast(Broadcast, config, setting, blank_kept),
    blank_upload=lambda config, setting, first: blank_upload(Upload, config, setting, blank_kept),
)
