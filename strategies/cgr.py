"""CGR: earlier sites are replayed as image-mask pairs by one diffusion model with an adapter for each site.

Li, Zhang, Heng & Gu, "Comprehensive Generative Replay for Task-Incremental Segmentation with Concurrent Appearance and
Semantic Forgetting", MICCAI 2024, arXiv 2406.19796, after its abstract and the authors' code (jingyzhang/CGR).
A site replays the earlier ones, and trains the segmenter, and then the generator, on batches that are half its own
pairs and half replays. The generator is taught by Bayesian Joint Diffusion, and a Task-Oriented Adapter recalibrates
the site's embedding: both are in `common/joint_diffusion.py`.

Ours: the embedding is the generator's token, not a text's, and only what an adapter makes of it leaves, for a replay
needs no more; the generator begins as the backbone that ships with the project; segmenter and generator go from site to
site. With `replays: 0` this is fine-tuning, and nothing of a generator leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from sites.seeds import seed_of
from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Kind, Payload, Weights
from strategies import ImageMaker, Strategy, StrategyConfig
from strategies.common.alignment import Domain
from strategies.common.denoising import sample
from strategies.common.diffusion import DiffusionConfig
from strategies.common.joint_diffusion import Recalled, teach
from strategies.common.modulation import (
    ModulationConfig,
    blank_weights,
    in_table,
    learnt_rows,
    new_generator,
    split_names,
)
from strategies.common.promptbook import PromptServer
from strategies.common.rehearsal import by_its_masks, train_rehearsing
from strategies.common.replays import make_replays
from strategies.common.retention import put, take
from strategies.common.segmenter import blank_segmenter, slices_of
from strategies.setting import Setting


class JointDiffusionConfig(DiffusionConfig):
    """The generator's form and budget; image and mask are always made together."""

    order: Literal["joint"] = "joint"
    steps: int = Field(default=400, ge=1)


class Config(StrategyConfig):
    """Settings of CGR.

    replays: pairs that a site makes of all earlier ones together (0: fine-tuning, and no generator leaves)
    conditional: whether pairs are denoised half by half as well (False: joint denoising alone)
    """

    diffusion: JointDiffusionConfig = JointDiffusionConfig()
    replays: int = Field(default=384, ge=0)
    conditional: bool = True

    @property
    def modulation(self) -> ModulationConfig:
        """Return this as SMDR would say it: one set of diffusion weights, rehearsed under the earlier prompts."""
        return ModulationConfig(diffusion=self.diffusion, retention="replay", replays=max(1, self.replays))


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: segmenter, diffusion weights, every site's embedding, and who has learnt one."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    diffusion: Annotated[Weights, Kind.DIFFUSION]
    prompts: Annotated[Weights, Kind.PROMPT]
    learnt: Annotated[Tensor, Kind.COUNT]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: the segmenter and the diffusion weights, trained on, and its embedding."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    diffusion: Annotated[Weights, Kind.DIFFUSION]
    prompt: Annotated[Weights, Kind.PROMPT]


class CgrServer(PromptServer[Broadcast, Upload]):
    """Passes segmenter and generator from one site to the next, and keeps every site's embedding."""

    def __init__(self, config: Config, setting: Setting) -> None:
        super().__init__(config.modulation, setting)
        self._config = config

    def broadcast(self, site: str, step: int) -> Broadcast:
        on, book = self._config.replays > 0, self._book
        return Broadcast(
            segmenter=self._segmenter.state_dict(),
            diffusion=book.diffusion_for(site) if on else {},
            prompts=book.prompts_for() if on else {},
            learnt=book.learnt,
        )

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        for site, upload in uploads.items():
            self._segmenter.load_state_dict(dict(upload.segmenter))
            if upload.prompt:
                self._book.add(site, upload.prompt, upload.diffusion)


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the segmenter on the site's own pairs and replays of the earlier sites, and then the generator."""
    known = learnt_rows(down.prompts, down.learnt, setting)
    others = {site: {**down.diffusion, **prompt} for site, prompt in known.items() if site != arrival.site}
    past = make_replays(config.modulation, setting, others, -(-config.replays // max(1, len(others))))
    segmenter = train_rehearsing(down.segmenter, setting, arrival, list(past.values()), by_its_masks)
    if not config.replays:
        return Upload(segmenter=segmenter, diffusion={}, prompt={})
    generator = put(new_generator(config.modulation, setting), {**down.diffusion, **known.get(arrival.site, {})})
    teach(
        generator,
        Domain(*slices_of(arrival.cases)),
        [Recalled(domain, others[site]["token"]) for site, domain in past.items()],
        steps=setting.budget.a_round(config.diffusion.steps_of(first=not known)),
        seed=seed_of(arrival.seed, "generator"),
        conditional=config.conditional,
    )
    prompt, diffusion = (take(generator, names) for names in split_names(config.modulation, generator))
    return Upload(segmenter=segmenter, diffusion=diffusion, prompt=prompt)


def remake(config: Config, setting: Setting, down: Broadcast, up: Upload, site: str) -> ImageMaker | None:
    """Return what makes images as a receiver could of an upload."""
    if not up.prompt:
        return None
    generator = put(new_generator(config.modulation, setting), {**up.diffusion, **up.prompt})
    return lambda count, seed: sample(generator, count, seed)[0]


def blank_broadcast(config: Config, setting: Setting) -> Broadcast:
    """Return a broadcast without values."""
    prompt, diffusion = blank_weights(config.modulation, setting) if config.replays else ({}, {})
    return Broadcast(
        segmenter=blank_segmenter(setting),
        diffusion=diffusion,
        prompts=in_table(dict.fromkeys(setting.sites, prompt)),
        learnt=torch.zeros(len(setting.sites), dtype=torch.uint8, device="meta"),
    )


def blank_upload(config: Config, setting: Setting, first: bool) -> Upload:
    """Return an upload without values."""
    prompt, diffusion = blank_weights(config.modulation, setting) if config.replays else ({}, {})
    return Upload(segmenter=blank_segmenter(setting), diffusion=diffusion, prompt=prompt)


STRATEGY = Strategy(
    family="replay",
    config=Config,
    server=CgrServer,
    learn=learn,
    blank_broadcast=blank_broadcast,
    blank_upload=blank_upload,
    remake=remake,
)
