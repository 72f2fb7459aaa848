"""Tries to get out: the image in a field that is declared to be a statistic."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from sites.stream import Arrival
from sites.vault import Vault
from strategies import finetune
from strategies.setting import Setting
from tests.hostile.taking import StatisticUpload, TakingServer


def learn(config: finetune.Config, setting: Setting, down: finetune.Broadcast, arrival: Arrival, vault: Vault) -> Any:
    """Try the image under the name of a statistic."""
    return StatisticUpload(segmenter=down.segmenter, taken=arrival.cases[0].images[0])


def blank_upload(config: finetune.Config, setting: Setting, first: bool) -> StatisticUpload:
    """Return an upload without values."""
    shape = setting.shape
    return StatisticUpload(
        segmenter=finetune.STRATEGY.blank_upload(config, setting, first).segmenter,
        taken=torch.zeros(shape.channels, shape.height, shape.width, device="meta"),
    )


STRATEGY = replace(finetune.STRATEGY, server=TakingServer, learn=learn, blank_upload=blank_upload)
