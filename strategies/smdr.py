"""SMDR: site-modulated diffusion replay with parallel gradient alignment, the segmenter trained at the server.

After Xu et al., "Towards Synchronous Memorizability and Generalizability with Site-Modulated Diffusion Replay for
Cross-Site Continual Segmentation", arXiv 2406.18037. Its abstract alone was at hand, so what it leaves open is our
reconstruction (see `strategies/common/`). A site learns its prompt and the diffusion weights and releases nothing else;
the server replays every site seen so far, the newest included, and trains the segmenter on the replays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from sites.seeds import seed_of
from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Kind, Payload, Weights, leaves_of
from strategies import Diagnostic, ImageMaker, Strategy
from strategies.common.alignment import Cosines, train_aligned
from strategies.common.denoising import sample
from strategies.common.modulation import (
    ModulationConfig,
    blank_weights,
    in_table,
    learn_prompt,
    learnt_rows,
    new_generator,
    prompt_start,
)
from strategies.common.promptbook import PromptServer
from strategies.common.replays import with_masks
from strategies.common.retention import put
from strategies.common.segmenter import segmentation_loss
from strategies.setting import Setting


class Config(ModulationConfig):
    """Settings of central SMDR: those of the generator, its retention, the replays and the alignment."""


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: the diffusion weights that it begins with, the prompts, and who has learnt one.

    Of others' prompts a site gets only what its way of retention needs; the rest of the table is zero.
    """

    diffusion: Annotated[Weights, Kind.DIFFUSION]
    prompts: Annotated[Weights, Kind.PROMPT]
    learnt: Annotated[Tensor, Kind.COUNT]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: its prompt, and the diffusion weights where they changed."""

    prompt: Annotated[Weights, Kind.PROMPT]
    diffusion: Annotated[Weights, Kind.DIFFUSION]


class SmdrServer(PromptServer[Broadcast, Upload]):
    """Keeps the prompts, replays all sites, and trains the segmenter on the replays."""

    def __init__(self, config: Config, setting: Setting) -> None:
        super().__init__(config, setting)
        self._config = config
        self._setting = setting
        self._diagnostics: list[Diagnostic] = []

    def broadcast(self, site: str, step: int) -> Broadcast:
        book = self._book
        return Broadcast(diffusion=book.diffusion_for(site), prompts=book.prompts_for(site), learnt=book.learnt)

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        for site, upload in uploads.items():
            self._book.add(site, upload.prompt, upload.diffusion)
            cosines = self._train(site, step)
            self._diagnostics = [*self._book.drift, *cosines.diagnostics(site)]

    def diagnostics(self) -> Sequence[Diagnostic]:
        """Return the drift of earlier prompts, and the cosines of the alignment."""
        return self._diagnostics

    def _train(self, newest: str, step: int) -> Cosines:
        """Go on training the segmenter on the replays of the newest site, aligned with those of the others."""
        budget, replays = self._setting.budget, self._book.replays()
        return train_aligned(
            self._segmenter,
            segmentation_loss,
            replays.pop(newest),
            with_masks(self._config, self._segmenter, [*replays.values(), *self._book.virtual()]),
            self._config.alignment,
            optimizer=torch.optim.AdamW(self._segmenter.parameters(), lr=budget.learning_rate, fused=True),
            iterations=budget.iterations_a_round(self._config.replays),
            batch=budget.batch,
            augmentation=self._setting.augmentation,
            seed=seed_of(self._setting.seed, "segmenter", newest, step),
        )


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Learn the site's prompt, with the diffusion weights where the way of retention changes them."""
    known = learnt_rows(down.prompts, down.learnt, setting)
    prompt, diffusion = learn_prompt(config, setting, down.diffusion, known, arrival)
    return Upload(prompt=prompt, diffusion=diffusion)


def remake(config: Config, setting: Setting, down: Broadcast, up: Upload, site: str) -> ImageMaker:
    """Return what makes images as a receiver could of an upload."""
    generator = put(new_generator(config, setting), {**down.diffusion, **up.diffusion, **up.prompt})
    return lambda count, seed: sample(generator, count, seed)[0]


def start(config: Config, setting: Setting, down: Broadcast, site: str) -> Mapping[str, Tensor]:
    """Return what a site's prompt and diffusion weights begin as."""
    known = learnt_rows(down.prompts, down.learnt, setting)
    return {**leaves_of(down), **prompt_start(config, setting, known, site)}


def blank_broadcast(config: Config, setting: Setting) -> Broadcast:
    """Return a broadcast without values."""
    prompt, diffusion = blank_weights(config, setting)
    learnt = torch.zeros(len(setting.sites), dtype=torch.uint8, device="meta")
    return Broadcast(diffusion=diffusion, prompts=in_table(dict.fromkeys(setting.sites, prompt)), learnt=learnt)


def blank_upload(config: Config, setting: Setting, first: bool) -> Upload:
    """Return an upload without values."""
    prompt, diffusion = blank_weights(config, setting)
    return Upload(prompt=prompt, diffusion=diffusion if config.trains_diffusion(first) else {})


STRATEGY = Strategy(
    family="smdr",
    config=Config,
    server=SmdrServer,
    learn=learn,
    blank_broadcast=blank_broadcast,
    blank_upload=blank_upload,
    remake=remake,
    start=start,
    trains_privately=lambda config: not config.rehearses,
)
