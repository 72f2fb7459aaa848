"""SMDR: site-modulated diffusion replay with parallel gradient alignment, the segmenter trained at the server.

After Xu et al., "Towards Synchronous Memorizability and Generalizability with Site-Modulated Diffusion Replay for
Cross-Site Continual Segmentation", arXiv 2406.18037. Its abstract alone was at hand, so what it leaves open is our
reconstruction (see `strategies/common/`). A site learns its prompt and the diffusion weights and releases nothing else;
the server replays every site seen so far, the newest included, and trains the segmenter on the replays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from sites.seeds import seed_of
from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Kind, Payload, Weights
from strategies import Server, State, Strategy
from strategies.common.alignment import train_aligned
from strategies.common.modulation import (
    ModulationConfig,
    PromptBook,
    blank_weights,
    in_table,
    learn_prompt,
    learnt_prompts,
)
from strategies.common.segmenter import build_segmenter, segmentation_loss
from strategies.setting import Setting


class Config(ModulationConfig):
    """Settings of central SMDR: those of the generator, its retention, the replays and the alignment."""


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: the diffusion weights that all share, every site's prompt, and who has learnt one."""

    diffusion: Annotated[Weights, Kind.DIFFUSION]
    prompts: Annotated[Weights, Kind.PROMPT]
    learnt: Annotated[Tensor, Kind.COUNT]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: its prompt and the diffusion weights (on a frozen backbone the first site's alone)."""

    prompt: Annotated[Weights, Kind.PROMPT]
    diffusion: Annotated[Weights, Kind.DIFFUSION]


class SmdrServer(Server[Broadcast, Upload]):
    """Keeps the prompts, replays all sites, and trains the segmenter on the replays."""

    def __init__(self, config: Config, setting: Setting) -> None:
        self._config = config
        self._setting = setting
        self._book = PromptBook(config, setting)
        self._segmenter = build_segmenter(setting)

    def rota(self, arriving: tuple[str, ...], online: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Sites that arrive in one step learn one after another, since each builds on the generator before it."""
        return tuple((site,) for site in arriving)

    def broadcast(self, site: str, step: int) -> Broadcast:
        return Broadcast(diffusion=self._book.shared, prompts=self._book.table(), learnt=self._book.learnt)

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        for site, upload in uploads.items():
            self._book.add(site, upload.prompt, upload.diffusion)
            self._train(site, step)

    def predictor(self, site: str) -> nn.Module:
        return self._segmenter

    def state_dict(self) -> State:
        return {**self._segmenter.state_dict(prefix="segmenter/"), **self._book.state_dict()}

    def load_state_dict(self, state: State) -> None:
        prefix = "segmenter/"
        self._segmenter.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        self._book.load_state_dict(state)

    def _train(self, newest: str, step: int) -> None:
        """Go on training the segmenter on the replays of the newest site, aligned with those of the others."""
        budget, replays = self._setting.budget, self._book.replays()
        train_aligned(
            self._segmenter,
            segmentation_loss,
            replays.pop(newest),
            list(replays.values()),
            self._config.alignment,
            optimizer=torch.optim.AdamW(self._segmenter.parameters(), lr=budget.learning_rate),
            iterations=budget.iterations_a_round(self._config.replays),
            batch=budget.batch,
            augmentation=self._setting.augmentation,
            seed=seed_of(self._setting.seed, "segmenter", newest, step),
        )


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Learn the site's prompt and, where the backbone is not frozen, the diffusion weights that all share."""
    known = learnt_prompts(down.prompts, down.learnt, setting)
    prompt, shared = learn_prompt(config, setting, down.diffusion, known, arrival)
    frozen = config.retention == "frozen" and bool(known)
    return Upload(prompt=prompt, diffusion={} if frozen else shared)


def blank_broadcast(config: Config, setting: Setting) -> Broadcast:
    """Return a broadcast without values."""
    prompt, shared = blank_weights(config, setting)
    learnt = torch.zeros(len(setting.sites), dtype=torch.uint8, device="meta")
    return Broadcast(diffusion=shared, prompts=in_table(dict.fromkeys(setting.sites, prompt)), learnt=learnt)


def blank_upload(config: Config, setting: Setting, first: bool) -> Upload:
    """Return an upload without values; on a frozen backbone only the first site has diffusion weights to release."""
    prompt, shared = blank_weights(config, setting)
    return Upload(prompt=prompt, diffusion=shared if first or config.retention != "frozen" else {})


STRATEGY = Strategy(
    family="smdr",
    config=Config,
    server=SmdrServer,
    learn=learn,
    blank_broadcast=blank_broadcast,
    blank_upload=blank_upload,
)
