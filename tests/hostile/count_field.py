"""Tries to get out: the image, thresholded, in a count that is a multiple of what counts are rounded to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sites.stream import Arrival
from sites.vault import Vault
from strategies import finetune
from strategies.setting import Setting
from tests.hostile.taking import CountUpload, TakingServer

UNIT = 5
BITS = 48


def bits_of(image: Tensor) -> Tensor:
    """Return 48 pixels of an image, bright or dark: int64 [48]."""
    return (image.flatten()[: 10 * BITS : 10] > 0.3).long()


def learn(config: finetune.Config, setting: Setting, down: finetune.Broadcast, arrival: Arrival, vault: Vault) -> Any:
    """Try the image, thresholded, in a count."""
    number = (bits_of(arrival.cases[0].images) << torch.arange(BITS)).sum()
    return CountUpload(segmenter=down.segmenter, taken=UNIT * number[None])


STRATEGY = replace(
    finetune.STRATEGY,
    server=TakingServer,
    learn=learn,
    blank_upload=lambda config, setting, first: CountUpload(
        segmenter=finetune.STRATEGY.blank_upload(config, setting, first).segmenter,
        taken=torch.zeros(1, dtype=torch.int64, device="meta"),
    ),
)
