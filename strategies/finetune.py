"""Sequential fine-tuning: each arriving site trains the one segmenter on its own data. The lower bound.

Nothing guards what earlier sites taught, so forgetting shows in full (McCloskey & Cohen, 1989).
"""

from __future__ import annotations

from sites.stream import Arrival
from sites.vault import Vault
from strategies import Strategy, StrategyConfig, always
from strategies.common.relay import Broadcast, RelayServer, Upload, blank_broadcast, blank_upload
from strategies.common.segmenter import train_on_arrival
from strategies.setting import Setting


class Config(StrategyConfig):
    """Fine-tuning has no settings of its own."""


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the segmenter on the site's current cases."""
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
