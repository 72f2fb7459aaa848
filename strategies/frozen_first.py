"""The first step's sites train the segmenter, and it never changes again: a bound without forgetting or learning.

What a method scores above it on later sites is what it learnt from them; what fine-tuning scores below it on the first
site is what it forgot.
"""

from __future__ import annotations

from pydantic import Field

from sites.stream import Arrival
from sites.vault import Vault
from strategies import Strategy, StrategyConfig, always
from strategies.common.relay import Broadcast, RelayServer, Upload, blank_broadcast, blank_upload
from strategies.common.segmenter import train_on_arrival
from strategies.setting import Setting


class Config(StrategyConfig):
    """Settings of the bound: `steps` is how many steps may train, after which all stays as it is."""

    steps: int = Field(default=1, ge=1)


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the segmenter in the first steps; later, give it back as it came."""
    if arrival.step > config.steps:
        return Upload(segmenter=down.segmenter)
    return Upload(segmenter=train_on_arrival(down.segmenter, setting, arrival))


STRATEGY = Strategy(
    family="bound",
    config=Config,
    server=RelayServer,
    learn=learn,
    blank_broadcast=blank_broadcast,
    blank_upload=blank_upload,
    trains_privately=always,
)
