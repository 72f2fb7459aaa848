"""The server's side of site-modulated diffusion: everyone's prompts, and the replays made from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from sites.wire import Weights
from strategies import Diagnostic, State
from strategies.common.alignment import Domain
from strategies.common.diffusion import Generator
from strategies.common.modulation import (
    SHARED,
    ModulationConfig,
    diffusion_rows,
    in_table,
    new_generator,
    rows_of,
    split_names,
)
from strategies.common.replays import Made, make_own, make_replays, make_virtual
from strategies.common.retention import put, take
from strategies.common.segmenter import build_segmenter
from strategies.common.sequence import Down, SequentialServer, Up
from strategies.common.state import part_of
from strategies.setting import Setting

PROBES = 8


class PromptBook:
    """The server's prompts and diffusion weights, and the replays made from them."""

    def __init__(self, config: ModulationConfig, setting: Setting) -> None:
        self._config = config
        self._setting = setting
        generator = new_generator(config, setting)
        prompt, other = split_names(config, generator)
        self._fresh_prompt, self._fresh = take(generator, prompt), take(generator, other)
        self.prompts: dict[str, State] = {}
        self.diffusion: dict[str, State] = {}
        self.drift: list[Diagnostic] = []
        self._made: Made = {}

    @property
    def learnt(self) -> Tensor:
        """Which sites have a prompt: uint8 [sites]."""
        return torch.tensor([site in self.prompts for site in self._setting.sites], dtype=torch.uint8)

    def prompts_for(self, reader: str | None = None) -> dict[str, Tensor]:
        """Return the table of prompts, zero where none is learnt.

        A `reader` gets only those that it needs to learn its own; the others are zero as well.
        """
        needed: set[str | None] = set(self._setting.sites)
        if reader is not None and not self._config.rehearses:
            needed = {reader, self._predecessor(reader, self.prompts)}
        zero = {name: torch.zeros_like(value) for name, value in self._fresh_prompt.items()}
        return in_table(
            {site: self.prompts.get(site, zero) if site in needed else zero for site in self._setting.sites}
        )

    def diffusion_for(self, site: str) -> State:
        """Return the diffusion weights that a site begins with."""
        if SHARED in self.diffusion:
            return self.diffusion[SHARED]
        one = self._predecessor(site, self.diffusion)
        return self._fresh if one is None else self.diffusion[one]

    def _predecessor(self, site: str, rows: Mapping[str, State]) -> str | None:
        return self._config.predecessor([other for other in self._setting.sites if other in rows], site)

    def diffusion_table(self) -> dict[str, Tensor]:
        """Return everyone's diffusion weights, as a site begins with them where it has none yet."""
        return in_table({row: self.diffusion_for(row) for row in diffusion_rows(self._config, self._setting)})

    def add(self, site: str, prompt: Weights, diffusion: Weights) -> None:
        """Take in what a site released, and measure how far that moved the replays of the others."""
        others = {name: weights for name, weights in self._weights().items() if name != site}
        shared = bool(diffusion) and self._config.retention != "own"
        before = self._probe(others) if shared else {}
        self.prompts[site] = dict(prompt)
        if diffusion:
            self.diffusion[SHARED if shared else site] = dict(diffusion)
        self._made = {} if shared else {whose: made for whose, made in self._made.items() if site not in whose}
        after = self._probe(self._weights()) if shared else {}
        moved = {name: float((after[name] - before[name]).square().mean().sqrt()) if shared else 0.0 for name in others}
        self.drift = [Diagnostic(name="drift", site=name, index=0, value=value) for name, value in moved.items()]

    def replays(self) -> dict[str, Domain]:
        """Return the replays of all sites seen so far, in the order of their arrival.

        What a later site can't change is made once.
        """
        return make_replays(self._config, self._setting, self._weights(), self._config.replays, self._made)

    def virtual(self) -> list[Domain]:
        """Return the pairs between past sites as a domain of their own, where settings and sites allow it."""
        if not self._config.virtual or len(self.prompts) < 2:
            return []
        return [make_virtual(self._config, self._setting, self._weights(), self._config.virtual)]

    def sampled(self, count: int) -> dict[str, tuple[Tensor, Tensor]]:
        """Return `count` fresh pairs of every site seen so far: images [N, C, H, W] and masks [N, S, H, W]."""
        made = make_replays(self._config, self._setting, self._weights(), count)
        return {site: (domain.images, domain.masks) for site, domain in made.items()}

    def generators(self) -> dict[str, Generator]:
        """Return the generator of every site seen so far."""
        return {site: put(new_generator(self._config, self._setting), own) for site, own in self._weights().items()}

    def state_dict(self) -> State:
        prompts = {f"prompt/{key}": value for key, value in in_table(self.prompts).items()}
        return prompts | {f"diffusion/{key}": value for key, value in in_table(self.diffusion).items()}

    def load_state_dict(self, state: State) -> None:
        self.prompts = rows_of(part_of(state, "prompt/"))
        self.diffusion = rows_of(part_of(state, "diffusion/"))
        self._made = {}

    def _weights(self) -> dict[str, State]:
        """Return all that makes a past site's replays, in the order of their arrival."""
        return {
            site: {**self.diffusion_for(site), **self.prompts[site]}
            for site in self._setting.sites
            if site in self.prompts
        }

    def _probe(self, weights: Mapping[str, Weights]) -> dict[str, Tensor]:
        made = make_own(self._config, self._setting, weights, PROBES)
        return {site: domain.images for site, domain in made.items()}


class PromptServer(SequentialServer[Down, Up]):
    """Keeps a segmenter and the book of prompts that replays are made from."""

    def __init__(self, config: ModulationConfig, setting: Setting) -> None:
        self._book = PromptBook(config, setting)
        self._segmenter = build_segmenter(setting)

    def diagnostics(self) -> Sequence[Diagnostic]:
        """Return the drift of earlier prompts."""
        return self._book.drift

    def replays(self, count: int) -> Mapping[str, tuple[Tensor, Tensor]]:
        return self._book.sampled(count)

    def generators(self) -> Mapping[str, Generator]:
        return self._book.generators()

    def predictor(self, site: str) -> nn.Module:
        return self._segmenter

    def state_dict(self) -> State:
        return {**self._segmenter.state_dict(prefix="segmenter/"), **self._book.state_dict()}

    def load_state_dict(self, state: State) -> None:
        self._segmenter.load_state_dict(part_of(state, "segmenter/"))
        self._book.load_state_dict(state)
