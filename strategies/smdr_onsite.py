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
from pydantic import Field
from torch import Tensor

from sites.seeds import seed_of
from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Kind, Payload, Weights, leaves_of
from strategies import ImageMaker, Strategy
from strategies.common.alignment import Domain, train_aligned
from strategies.common.denoising import sample
from strategies.common.modulation import (
    SHARED,
    ModulationConfig,
    blank_weights,
    diffusion_rows,
    in_table,
    learn_prompt,
    learnt_rows,
    new_generator,
    prompt_start,
    rows_of,
)
from strategies.common.promptbook import PromptServer
from strategies.common.replays import make_replays, make_virtual, with_masks
from strategies.common.retention import put
from strategies.common.segmenter import blank_segmenter, build_segmenter, segmentation_loss, slices_of
from strategies.setting import Setting


class Config(ModulationConfig):
    """Settings of on-site SMDR.

    replays: pairs that a site makes of all the earlier ones together, so that the tenth has no more to do than the
        third
    """

    replays: int = Field(default=192, ge=1)


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: the segmenter, all diffusion weights and prompts, and who has learnt one."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    diffusion: Annotated[Weights, Kind.DIFFUSION]
    prompts: Annotated[Weights, Kind.PROMPT]
    learnt: Annotated[Tensor, Kind.COUNT]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: its prompt, the diffusion weights where they changed, and the segmenter."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    prompt: Annotated[Weights, Kind.PROMPT]
    diffusion: Annotated[Weights, Kind.DIFFUSION]


class SmdrOnsiteServer(PromptServer[Broadcast, Upload]):
    """Keeps the prompts, and passes segmenter and generator from one site to the next.

    The cosines of the alignment are not released.
    """

    def broadcast(self, site: str, step: int) -> Broadcast:
        return Broadcast(
            segmenter=self._segmenter.state_dict(),
            diffusion=self._book.diffusion_table(),
            prompts=self._book.prompts_for(),
            learnt=self._book.learnt,
        )

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        for site, upload in uploads.items():
            self._book.add(site, upload.prompt, upload.diffusion)
            self._segmenter.load_state_dict(dict(upload.segmenter))


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Learn the site's prompt, and train the segmenter on real images aligned with replays of the other sites."""
    known, diffusion = learnt_rows(down.prompts, down.learnt, setting), rows_of(down.diffusion)
    start = diffusion.get(arrival.site) or diffusion[SHARED]
    past = _past(config, setting, {s: {**diffusion.get(s, start), **p} for s, p in known.items() if s != arrival.site})
    segmenter = build_segmenter(setting)
    segmenter.load_state_dict(dict(down.segmenter))
    images, masks = slices_of(arrival.cases)
    budget = setting.budget
    train_aligned(
        segmenter,
        segmentation_loss,
        Domain(images, masks),
        with_masks(config, segmenter, past),
        config.alignment,
        optimizer=torch.optim.AdamW(segmenter.parameters(), lr=budget.learning_rate, fused=True),
        iterations=budget.iterations_a_round(len(images)),
        batch=budget.batch,
        augmentation=setting.augmentation,
        seed=seed_of(arrival.seed, "segmenter"),
    )
    prompt, changed = learn_prompt(config, setting, start, known, arrival, segmenter=segmenter)
    return Upload(segmenter=dict(segmenter.state_dict()), prompt=prompt, diffusion=changed)


def _past(config: Config, setting: Setting, weights: Mapping[str, Weights]) -> list[Domain]:
    """Return replays of the other sites, and pairs between them where settings ask for such."""
    count = -(-config.replays // max(1, len(weights)))
    past = list(make_replays(config, setting, weights, count).values())
    if config.virtual and len(weights) > 1:
        past.append(make_virtual(config, setting, weights, config.virtual))
    return past


def remake(config: Config, setting: Setting, down: Broadcast, up: Upload, site: str) -> ImageMaker:
    """Return what makes images as a receiver could of an upload."""
    diffusion = rows_of(down.diffusion)
    start = diffusion.get(site) or diffusion[SHARED]
    generator = put(new_generator(config, setting), {**start, **up.diffusion, **up.prompt})
    return lambda count, seed: sample(generator, count, seed)[0]


def start(config: Config, setting: Setting, down: Broadcast, site: str) -> Mapping[str, Tensor]:
    """Return what a site's segmenter, prompt and diffusion weights begin as."""
    known, diffusion = learnt_rows(down.prompts, down.learnt, setting), rows_of(down.diffusion)
    own = {f"diffusion/{name}": value for name, value in (diffusion.get(site) or diffusion[SHARED]).items()}
    return {**leaves_of(down), **own, **prompt_start(config, setting, known, site)}


def blank_broadcast(config: Config, setting: Setting) -> Broadcast:
    """Return a broadcast without values."""
    prompt, diffusion = blank_weights(config, setting)
    return Broadcast(
        segmenter=blank_segmenter(setting),
        diffusion=in_table(dict.fromkeys(diffusion_rows(config, setting), diffusion)),
        prompts=in_table(dict.fromkeys(setting.sites, prompt)),
        learnt=torch.zeros(len(setting.sites), dtype=torch.uint8, device="meta"),
    )


def blank_upload(config: Config, setting: Setting, first: bool) -> Upload:
    """Return an upload without values."""
    prompt, diffusion = blank_weights(config, setting)
    return Upload(
        segmenter=blank_segmenter(setting),
        prompt=prompt,
        diffusion=diffusion if config.trains_diffusion(first) else {},
    )


STRATEGY = Strategy(
    family="smdr",
    config=Config,
    server=SmdrOnsiteServer,
    learn=learn,
    blank_broadcast=blank_broadcast,
    blank_upload=blank_upload,
    remake=remake,
    start=start,
)
