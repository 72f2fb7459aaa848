"""Site-modulated diffusion: what of the generator is a site's prompt, and how a site learns it.

Shared by `smdr` and `smdr_onsite`, which differ in where the segmenter is trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from sites.copying import REACH
from sites.seeds import seed_of
from sites.stream import Arrival
from sites.wire import Weights
from strategies import State, StrategyConfig
from strategies.common.alignment import AlignmentConfig
from strategies.common.calibration import calibrate
from strategies.common.consistency import Consistency
from strategies.common.diffusion import DiffusionConfig, Generator, build_generator, deep_prompt_names
from strategies.common.retention import Rehearsal, Retention, distil, fit, put, rehearse_replays, take
from strategies.common.segmenter import build_segmenter, slices_of, train_segmenter
from strategies.setting import Setting

SHARED = "shared"


class ModulationConfig(StrategyConfig):
    """Settings that every form of SMDR has.

    shift: how far pairs are moved at random as a generator is taught them, as a share of their shorter side; where they
        always lie in one place, it learns them by heart (by default as far as the copy test looks around)
    begin: with whose prompt and diffusion weights a site begins that was never here before: those of the site before
        it, which so hand on the anatomy that all have in common, or those of the backbone
    retention: how earlier prompts are held on to; rank: of the adapters, where retention is `adapter`
    consistency: weight of a loss that holds images to their masks, which a segmenter at the site must find in them (try
        0.1; none by default: pairs agree better by it, but segmenters taught by them were no better)
    reading: iterations for which a site trains that segmenter, where it has none at hand; it never leaves
    calibration: masks that a site makes, in each of a few rounds, so that its replays hold as much of each structure as
        its own do (try 64 where a site has few slices; none by default). Needs the mask made first, and a retention
        under which a site's prompt is all its own
    replays: pairs made for each site that has been seen
    masks: of past sites' replays: those that were generated; such as the segmenter finds in the images before a turn
        (`segmented`; so Shin et al., NeurIPS 2017, label replays); or those of all sites' generators in equal parts
        (`shared`), where sites differ in how images look rather than in anatomy. This needs the mask made first
    keep: share of a site's replays that are kept, those which a classifier, taught the replays of all sites, takes for
        its own most surely; more are made, so that `replays` are left (try 0.8 where sites have few slices; all by
        default)
    virtual: pairs made between the prompts of two past sites, besides
    """

    diffusion: DiffusionConfig = DiffusionConfig()
    shift: float = Field(default=REACH, ge=0, lt=0.5)
    begin: Literal["last_site", "backbone"] = "last_site"
    retention: Retention = "own"
    rank: int = Field(default=8, ge=1)
    consistency: float = Field(default=0.0, ge=0)
    reading: int = Field(default=100, ge=1)
    calibration: int = Field(default=0, ge=0)
    replays: int = Field(default=128, ge=1)
    masks: Literal["generated", "segmented", "shared"] = "generated"
    keep: float = Field(default=1.0, gt=0, le=1)
    virtual: int = Field(default=0, ge=0)
    alignment: AlignmentConfig = AlignmentConfig()

    @model_validator(mode="after")
    def _can_calibrate(self) -> Self:
        if self.calibration and (self.rehearses or self.diffusion.order != "mask_first"):
            raise ValueError(
                "calibration: needs diffusion: {order: mask_first} and a retention of own, adapter or frozen; "
                "set one of these, or calibration: 0"
            )
        return self

    @model_validator(mode="after")
    def _can_share_masks(self) -> Self:
        if self.masks == "shared" and self.diffusion.order != "mask_first":
            raise ValueError(
                "masks: shared needs diffusion: {order: mask_first}; set it, or choose masks: generated or segmented"
            )
        return self

    @property
    def rehearses(self) -> bool:
        """Whether a site needs the prompts of the others, to hold on to them."""
        return self.retention in ("replay", "distill")

    def predecessor(self, learnt: Sequence[str], site: str) -> str | None:
        """Return whose prompt and diffusion weights a site begins with, of those that have learnt any, in their order.

        Its own if it was here before. None: the backbone's. One that began at random is what the first site taught it.
        """
        if site in learnt:
            return site
        if not learnt:
            return None
        if self.begin == "last_site":
            return learnt[-1]
        return learnt[0] if self.diffusion.start == "random" else None

    def trains_diffusion(self, first: bool) -> bool:
        """Whether a turn (the run's first, or a later one) changes the diffusion weights outside the prompt."""
        return self.retention in ("own", "replay", "distill") or (first and self.diffusion.start == "random")


def new_generator(config: ModulationConfig, setting: Setting) -> Generator:
    """Build the generator of a setting; what is random in it is drawn from the run's seed."""
    rank = config.rank if config.retention == "adapter" else 0
    return build_generator(config.diffusion, setting.shape, seed_of(setting.seed, "generator"), rank)


def split_names(config: ModulationConfig, generator: Generator) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the parameters that are a site's prompt, and of the other diffusion weights."""
    prompt = ("token",) if config.rehearses else deep_prompt_names(generator)
    return prompt, tuple(name for name, _ in generator.named_parameters() if name not in set(prompt))


def blank_weights(config: ModulationConfig, setting: Setting) -> tuple[State, State]:
    """Return one prompt and the other diffusion weights on torch's meta device."""
    with torch.device("meta"):
        generator = new_generator(config, setting)
    values = dict(generator.named_parameters())
    prompt, shared = split_names(config, generator)
    return {name: values[name].detach() for name in prompt}, {name: values[name].detach() for name in shared}


def diffusion_rows(config: ModulationConfig, setting: Setting) -> tuple[str, ...]:
    """Return who has diffusion weights: every site its own, or one set that all share."""
    return setting.sites if config.retention == "own" else (SHARED,)


def in_table(rows: Mapping[str, Weights]) -> dict[str, Tensor]:
    """Write weights as one table: `site.parameter`."""
    return {f"{site}.{name}": value for site, row in rows.items() for name, value in row.items()}


def rows_of(table: Weights) -> dict[str, dict[str, Tensor]]:
    """Read a table back (the name of a site holds no dot)."""
    rows: dict[str, dict[str, Tensor]] = {}
    for key, value in table.items():
        site, _, name = key.partition(".")
        rows.setdefault(site, {})[name] = value
    return rows


def learnt_rows(table: Weights, learnt: Tensor, setting: Setting) -> dict[str, dict[str, Tensor]]:
    """Return the rows of the sites that have learnt one; `learnt` is uint8 [sites]."""
    rows = rows_of(table)
    return {site: rows[site] for row, site in enumerate(setting.sites) if learnt[row]}


def learn_prompt(
    config: ModulationConfig,
    setting: Setting,
    diffusion: Weights,
    known: Mapping[str, Weights],
    arrival: Arrival,
    *,
    segmenter: nn.Module | None = None,
) -> tuple[State, State]:
    """Teach the generator a site's current cases; return its prompt, and the diffusion weights if they changed.

    Under DP-SGD nothing else looks at the cases: no consistency, no calibration.

    `diffusion` are the weights to begin with; `segmenter` one that knows the site, if there is one at hand.
    """
    generator = put(new_generator(config, setting), diffusion)
    prompt_names, other_names = split_names(config, generator)
    put(generator, _first_prompt(config, known, arrival.site))
    images, masks = slices_of(arrival.cases)
    changes = config.trains_diffusion(first=not known)
    fit(
        generator,
        images,
        masks,
        steps=setting.budget.a_round(config.diffusion.steps_of(first=not known)),
        seed=arrival.seed,
        shift=config.shift,
        trained=(*prompt_names, *other_names) if changes else prompt_names,
        consistency=_consistency(config, setting, arrival, segmenter),
        rehearsal=_rehearsal(config, setting, diffusion, known, arrival),
        privacy=arrival.privacy,
    )
    if config.calibration and arrival.privacy is None:
        calibrate(generator, masks, config.calibration, seed_of(arrival.seed, "calibration"))
    return take(generator, prompt_names), take(generator, other_names) if changes else {}


def _consistency(
    config: ModulationConfig, setting: Setting, arrival: Arrival, segmenter: nn.Module | None
) -> Consistency | None:
    """Return what holds images to their masks; nothing under DP-SGD, which a segmenter would get round."""
    if not config.consistency or arrival.privacy is not None:
        return None
    if segmenter is None:
        segmenter, seed = build_segmenter(setting), seed_of(arrival.seed, "reading")
        train_segmenter(segmenter, setting, *slices_of(arrival.cases), iterations=config.reading, seed=seed)
    return Consistency(segmenter, config.consistency)


def _first_prompt(config: ModulationConfig, known: Mapping[str, Weights], site: str) -> Weights:
    """Return the prompt that a site begins with; nothing where it is the generator's own."""
    one = config.predecessor(list(known), site)
    return {} if one is None else known[one]


def prompt_start(
    config: ModulationConfig, setting: Setting, known: Mapping[str, Weights], site: str
) -> Mapping[str, Tensor]:
    """Return what each parameter of a site's prompt begins as, by leaf key."""
    generator = put(new_generator(config, setting), _first_prompt(config, known, site))
    return {f"prompt/{name}": value for name, value in take(generator, split_names(config, generator)[0]).items()}


def _rehearsal(
    config: ModulationConfig, setting: Setting, diffusion: Weights, known: Mapping[str, Weights], arrival: Arrival
) -> Rehearsal | None:
    tokens = [prompt["token"] for site, prompt in known.items() if site != arrival.site]
    if not (config.rehearses and tokens):
        return None
    before = put(new_generator(config, setting), diffusion)
    if config.retention == "distill":
        return distil(before, tokens, *slices_of(arrival.cases))
    return rehearse_replays(before, tokens, config.replays, arrival.seed)
