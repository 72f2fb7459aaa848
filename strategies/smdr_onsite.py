"""SMDR with the segmenter trained at the site: on its real images, aligned with replays that it makes of the past.

Closest to the setting of Xu et al., arXiv 2406.18037, of which the abstract alone was at hand. The prompts and the
diffusion weights that come down let a site replay all earlier ones; it releases its prompt, the diffusion weights and
the segmenter.
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
from strategies.common.alignment import Domain, train_aligned
from strategies.common.modulation import (
    ModulationConfig,
    PromptBook,
    blank_weights,
    in_table,
    learn_prompt,
    learnt_prompts,
    make_replays,
)
from strategies.common.segmenter import blank_segmenter, build_segmenter, segmentation_loss, slices_of
from strategies.setting import Setting


class Config(ModulationConfig):
    """Settings of on-site SMDR; `replays` is the number of pairs that a site makes for each earlier one."""


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: the segmenter, the shared diffusion weights, the prompts, and who has learnt one."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    diffusion: Annotated[Weights, Kind.DIFFUSION]
    prompts: Annotated[Weights, Kind.PROMPT]
    learnt: Annotated[Tensor, Kind.COUNT]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: its prompt, the diffusion weights (frozen: the first site's alone), the segmenter."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    prompt: Annotated[Weights, Kind.PROMPT]
    diffusion: Annotated[Weights, Kind.DIFFUSION]


class SmdrOnsiteServer(Server[Broadcast, Upload]):
    """Keeps the prompts, and passes segmenter and generator from one site to the next."""

    def __init__(self, config: Config, setting: Setting) -> None:
        self._book = PromptBook(config, setting)
        self._segmenter = build_segmenter(setting)

    def rota(self, arriving: tuple[str, ...], online: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Sites that arrive in one step learn one after another, since each builds on what came before it."""
        return tuple((site,) for site in arriving)

    def broadcast(self, site: str, step: int) -> Broadcast:
        return Broadcast(
            segmenter=self._segmenter.state_dict(),
            diffusion=self._book.shared,
            prompts=self._book.table(),
            learnt=self._book.learnt,
        )

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        for site, upload in uploads.items():
            self._book.add(site, upload.prompt, upload.diffusion)
            self._segmenter.load_state_dict(dict(upload.segmenter))

    def predictor(self, site: str) -> nn.Module:
        return self._segmenter

    def state_dict(self) -> State:
        return {**self._segmenter.state_dict(prefix="segmenter/"), **self._book.state_dict()}

    def load_state_dict(self, state: State) -> None:
        prefix = "segmenter/"
        self._segmenter.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        self._book.load_state_dict(state)


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Learn the site's prompt, and train the segmenter on real images aligned with replays of the other sites."""
    known = learnt_prompts(down.prompts, down.learnt, setting)
    others = {site: prompt for site, prompt in known.items() if site != arrival.site}
    past = make_replays(config, setting, down.diffusion, others, config.replays)
    segmenter = build_segmenter(setting)
    segmenter.load_state_dict(dict(down.segmenter))
    images, masks = slices_of(arrival.cases)
    budget = setting.budget
    train_aligned(
        segmenter,
        segmentation_loss,
        Domain(images, masks),
        list(past.values()),
        config.alignment,
        optimizer=torch.optim.AdamW(segmenter.parameters(), lr=budget.learning_rate),
        iterations=budget.iterations_a_round(len(images)),
        batch=budget.batch,
        augmentation=setting.augmentation,
        seed=seed_of(arrival.seed, "segmenter"),
    )
    prompt, shared = learn_prompt(config, setting, down.diffusion, known, arrival)
    frozen = config.retention == "frozen" and bool(known)
    return Upload(segmenter=dict(segmenter.state_dict()), prompt=prompt, diffusion={} if frozen else shared)


def blank_broadcast(config: Config, setting: Setting) -> Broadcast:
    """Return a broadcast without values."""
    prompt, shared = blank_weights(config, setting)
    return Broadcast(
        segmenter=blank_segmenter(setting),
        diffusion=shared,
        prompts=in_table(dict.fromkeys(setting.sites, prompt)),
        learnt=torch.zeros(len(setting.sites), dtype=torch.uint8, device="meta"),
    )


def blank_upload(config: Config, setting: Setting, first: bool) -> Upload:
    """Return an upload without values; on a frozen backbone only the first site has diffusion weights to release."""
    prompt, shared = blank_weights(config, setting)
    return Upload(
        segmenter=blank_segmenter(setting),
        prompt=prompt,
        diffusion=shared if first or config.retention != "frozen" else {},
    )


STRATEGY = Strategy(
    family="smdr",
    config=Config,
    server=SmdrOnsiteServer,
    learn=learn,
    blank_broadcast=blank_broadcast,
    blank_upload=blank_upload,
)
