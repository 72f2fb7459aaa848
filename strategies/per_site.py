"""A segmenter for each site, trained on that site alone: no forgetting, no sharing; the bound for sites that were seen.

An unseen site is given the newest site's segmenter. (Averaging the logits of all would take all of them at prediction,
and averaging their weights joins networks that were never trained together.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import nn

from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Kind, Payload, Weights
from strategies import Server, State, Strategy, StrategyConfig, always
from strategies.common.segmenter import blank_segmenter, build_segmenter, train_on_arrival
from strategies.setting import Setting


class Config(StrategyConfig):
    """Settings of the bound.

    warm_start: a new site's segmenter starts from the newest site's, in place of the run's initial weights
    """

    warm_start: bool = False


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: its own segmenter."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: its own segmenter, trained on."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]


class PerSiteServer(Server[Broadcast, Upload]):
    """Keeps a segmenter for each site that has learnt, and the newest for all others."""

    def __init__(self, config: Config, setting: Setting) -> None:
        self._config = config
        self._sites = setting.sites
        self._fresh = build_segmenter(setting)
        self._own = {site: build_segmenter(setting) for site in setting.sites}
        self._learnt = torch.zeros(len(setting.sites), dtype=torch.uint8)
        self._newest = torch.tensor(-1)

    def rota(self, arriving: tuple[str, ...], online: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Sites that arrive in one step learn one after another where the later one builds on the earlier."""
        return tuple((site,) for site in arriving) if self._config.warm_start else (arriving,)

    def broadcast(self, site: str, step: int) -> Broadcast:
        if self._has(site):
            return Broadcast(segmenter=self._own[site].state_dict())
        return Broadcast(segmenter=(self._latest() if self._config.warm_start else self._fresh).state_dict())

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        for site, upload in uploads.items():
            row = self._sites.index(site)
            self._own[site].load_state_dict(dict(upload.segmenter))
            self._learnt[row] = 1
            self._newest.fill_(row)

    def predictor(self, site: str) -> nn.Module:
        return self._own[site] if self._has(site) else self._latest()

    def state_dict(self) -> State:
        held = {f"{site}/{name}": value for site, own in self._own.items() for name, value in own.state_dict().items()}
        return {**held, "learnt": self._learnt, "newest": self._newest}

    def load_state_dict(self, state: State) -> None:
        for site, own in self._own.items():
            own.load_state_dict({name: state[f"{site}/{name}"] for name in own.state_dict()})
        self._learnt, self._newest = state["learnt"].clone(), state["newest"].clone()

    def _has(self, site: str) -> bool:
        return site in self._sites and bool(self._learnt[self._sites.index(site)])

    def _latest(self) -> nn.Module:
        return self._own[self._sites[int(self._newest)]] if int(self._newest) >= 0 else self._fresh


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the site's segmenter on its current cases."""
    return Upload(segmenter=train_on_arrival(down.segmenter, setting, arrival))


STRATEGY = Strategy(
    family="bound",
    config=Config,
    server=PerSiteServer,
    learn=learn,
    blank_broadcast=lambda config, setting: Broadcast(segmenter=blank_segmenter(setting)),
    blank_upload=lambda config, setting, first: Upload(segmenter=blank_segmenter(setting)),
    trains_privately=always,
)
