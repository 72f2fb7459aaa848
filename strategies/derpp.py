"""Dark experience replay: exemplars are rehearsed with their labels, and with the logits that the segmenter once gave.

Buzzega et al., "Dark Experience for General Continual Learning: a Strong, Simple Baseline", NeurIPS 2020 (DER++):

    L(theta) = L_new(theta) + alpha * mean (f_theta(x') - z')^2 + beta * L(f_theta(x''), y'')

with (x', z') and (x'', y'') two draws from a reservoir (see Vitter, 1985). The paper stores z in the midst of training,
as slices stream by. Here a site chooses its exemplars when it has trained, and z is what it then says of them. An
augmented exemplar has its logits moved with its mask.

Exemplars are real images with labels, and logits say much of the labels: this needs `policy: reference-only`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import mse_loss

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


class Config(ReservoirConfig):
    """Settings of DER++.

    buffer: the number of slices kept of all sites together (0: fine-tuning)
    alpha: the weight of stored logits; beta: that of stored labels (0: DER)
    """

    alpha: float = Field(default=0.1, ge=0)
    beta: float = Field(default=1.0, ge=0)


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: the segmenter, the exemplars, how many of each site, and how many slices went by."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    images: Annotated[Tensor, Kind.IMAGE]
    masks: Annotated[Tensor, Kind.LABEL]
    logits: Annotated[Tensor, Kind.LABEL]
    counts: Annotated[Tensor, Kind.COUNT]
    seen: Annotated[Tensor, Kind.COUNT]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: the segmenter, and in a step's last round its exemplars.

    images: float32 [rows, channels, height, width]; masks: uint8 [rows, structures, height, width];
    logits: float32 in the form of the masks;
    held: int64 [1], the number of rows that are not blank; slices: int64 [1], of how many they were drawn
    """

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    images: Annotated[Tensor, Kind.IMAGE]
    masks: Annotated[Tensor, Kind.LABEL]
    logits: Annotated[Tensor, Kind.LABEL]
    held: Annotated[Tensor, Kind.LABEL]
    slices: Annotated[Tensor, Kind.COUNT]


def blank_darkness(setting: Setting, rows: int, device: str) -> dict[str, Tensor]:
    """Return blank exemplars: `images`, `masks`, and `logits` float32 [rows, S, H, W]."""
    blank = blank_rows(setting.shape, rows, device)
    return {**blank, "logits": torch.zeros(blank["masks"].shape, device=device)}


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the segmenter on the current cases and the exemplars; then choose the site's own exemplars."""
    network = build_segmenter(setting)
    network.load_state_dict(dict(down.segmenter))
    images, masks = slices_of(arrival.cases)
    iterations = setting.budget.iterations_a_round(len(images))
    held, structures = int(down.counts.sum()), masks.shape[1]
    answers = torch.cat([down.masks[:held], down.logits[:held]], dim=1)
    dark, light = (
        rehearsals(setting, down.images[:held], answers, iterations, seed_of(arrival.seed, what))
        for what in ("dark", "light")
    )
    descent = descent_of(network, setting, iterations)
    network.train()
    current = minibatches(setting, images, masks, iterations, arrival.seed)
    for (some, their_masks), (x1, y1), (x2, y2) in zip(current, dark, light, strict=True):
        logits = network(torch.cat([some, x1, x2])).split([len(some), len(x1), len(x2)])
        loss = segmentation_loss(logits[0], their_masks)
        if held:
            dark_loss = mse_loss(logits[1], y1[:, structures:])
            loss = loss + config.alpha * dark_loss + config.beta * segmentation_loss(logits[2], y2[:, :structures])
        descend(loss, descent)
    chosen = chosen_of(config, setting, down.seen, arrival, len(images))
    rows = rows_of(config, setting)
    return Upload(
        segmenter=dict(network.state_dict()),
        images=padded(images[chosen], rows),
        masks=padded(masks[chosen], rows),
        logits=padded(answer(network, images[chosen]), rows),
        held=torch.tensor([len(chosen)]),
        slices=torch.tensor([len(images)]),
    )


@torch.no_grad()
def answer(network: nn.Module, images: Tensor) -> Tensor:
    """Return the logits [N, S, H, W] that a trained segmenter gives for images [N, C, H, W]."""
    network.eval()
    logits: Tensor = network(images)
    return logits


STRATEGY = Strategy(
    family="replay",
    config=Config,
    server=lambda config, setting: ReservoirServer(config, setting, Broadcast, blank_darkness),
    learn=learn,
    blank_broadcast=lambda config, setting: blank_broadcast(Broadcast, config, setting, blank_darkness),
    blank_upload=lambda config, setting, first: blank_upload(Upload, config, setting, blank_darkness),
)
