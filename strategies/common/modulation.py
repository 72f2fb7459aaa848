"""Site-modulated diffusion at both ends: a site learns its prompt, the server keeps all prompts and makes replays.

Shared by `smdr` and `smdr_onsite`, which differ in where the segmenter is trained.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from sites.seeds import seed_of
from sites.stream import Arrival
from sites.wire import Weights
from strategies import State, StrategyConfig
from strategies.common.alignment import AlignmentConfig, Domain
from strategies.common.diffusion import DiffusionConfig, Generator, build_generator, deep_prompt_names, sample
from strategies.common.retention import Rehearsal, Retention, distil, fit, put, rehearse_replays, take
from strategies.common.segmenter import slices_of
from strategies.setting import Setting


class ModulationConfig(StrategyConfig):
    """Settings that every form of SMDR has.

    retention: how earlier prompts are held on to; replays: pairs made for each site that has been seen
    """

    diffusion: DiffusionConfig = DiffusionConfig()
    retention: Retention = "frozen"
    replays: int = Field(default=128, ge=1)
    alignment: AlignmentConfig = AlignmentConfig()


def new_generator(config: ModulationConfig, setting: Setting) -> Generator:
    """Build the generator of a setting, its weights drawn from the run's seed."""
    return build_generator(config.diffusion, setting.shape, seed_of(setting.seed, "generator"))


def split_names(config: ModulationConfig, generator: Generator) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the parameters that are a site's prompt, and of those that all sites share."""
    prompt = deep_prompt_names(generator) if config.retention == "frozen" else ("token",)
    return prompt, tuple(name for name, _ in generator.named_parameters() if name not in set(prompt))


def blank_weights(config: ModulationConfig, setting: Setting) -> tuple[State, State]:
    """Return one prompt and the shared weights on torch's meta device."""
    with torch.device("meta"):
        generator = build_generator(config.diffusion, setting.shape, 0)
    values = dict(generator.named_parameters())
    prompt, shared = split_names(config, generator)
    return {name: values[name].detach() for name in prompt}, {name: values[name].detach() for name in shared}


def in_table(prompts: Mapping[str, Weights]) -> dict[str, Tensor]:
    """Write prompts as one table: `site.parameter`."""
    return {f"{site}.{name}": value for site, prompt in prompts.items() for name, value in prompt.items()}


def row_of(table: Weights, site: str) -> dict[str, Tensor]:
    """Read one site's prompt off a table."""
    return {key.removeprefix(f"{site}."): value for key, value in table.items() if key.startswith(f"{site}.")}


def learnt_prompts(table: Weights, learnt: Tensor, setting: Setting) -> dict[str, dict[str, Tensor]]:
    """Return the prompts of the sites that have learnt one; `learnt` is uint8 [sites]."""
    return {site: row_of(table, site) for row, site in enumerate(setting.sites) if learnt[row]}


def learn_prompt(
    config: ModulationConfig, setting: Setting, shared: Weights, known: Mapping[str, Weights], arrival: Arrival
) -> tuple[State, State]:
    """Teach the generator a site's current cases; return its prompt and the shared weights as they now stand.

    The first site of a run teaches everything. A later one starts from its own prompt, if it was here before, or
    else from the first site's.
    """
    generator = put(new_generator(config, setting), shared)
    prompt_names, shared_names = split_names(config, generator)
    if known:
        put(generator, known.get(arrival.site) or next(iter(known.values())))
    images, masks = slices_of(arrival.cases)
    frozen = config.retention == "frozen" and bool(known)
    steps = config.diffusion.steps if known else config.diffusion.first_steps
    fit(
        generator,
        images,
        masks,
        steps=max(1, round(steps / setting.budget.rounds)),
        seed=arrival.seed,
        trained=prompt_names if frozen else (*prompt_names, *shared_names),
        rehearsal=_rehearsal(config, setting, shared, known, arrival),
    )
    return take(generator, prompt_names), take(generator, shared_names)


def _rehearsal(
    config: ModulationConfig, setting: Setting, shared: Weights, known: Mapping[str, Weights], arrival: Arrival
) -> Rehearsal | None:
    tokens = [prompt["token"] for site, prompt in known.items() if site != arrival.site]
    if config.retention == "frozen" or not tokens:
        return None
    before = put(new_generator(config, setting), shared)
    if config.retention == "distill":
        return distil(before, tokens, *slices_of(arrival.cases))
    return rehearse_replays(before, tokens, config.replays, arrival.seed)


def make_replays(
    config: ModulationConfig, setting: Setting, shared: Weights, prompts: Mapping[str, Weights], count: int
) -> dict[str, Domain]:
    """Make `count` pairs for each prompt; the same prompt and weights make the same pairs."""
    generator = put(new_generator(config, setting), shared)
    return {
        site: Domain(*sample(put(generator, prompt), count, seed_of(setting.seed, "replay", site)))
        for site, prompt in prompts.items()
    }


class PromptBook:
    """The server's prompts and shared weights, and the replays made from them."""

    def __init__(self, config: ModulationConfig, setting: Setting) -> None:
        self._config = config
        self._setting = setting
        self._generator = new_generator(config, setting)
        prompt, shared = split_names(config, self._generator)
        self.shared = take(self._generator, shared)
        self._blank = take(self._generator, prompt)
        self.prompts: dict[str, State] = {}
        self._made: dict[str, Domain] = {}

    @property
    def learnt(self) -> Tensor:
        """Which sites have a prompt: uint8 [sites]."""
        return torch.tensor([site in self.prompts for site in self._setting.sites], dtype=torch.uint8)

    def table(self) -> dict[str, Tensor]:
        """Return the prompts of all sites of the setting; those not learnt yet are zero."""
        zero = {name: torch.zeros_like(value) for name, value in self._blank.items()}
        return in_table({site: self.prompts.get(site, zero) for site in self._setting.sites})

    def add(self, site: str, prompt: Weights, shared: Weights) -> None:
        """Take in what a site released; a site on a frozen backbone releases no shared weights."""
        self.prompts[site] = dict(prompt)
        self._made.pop(site, None)
        if shared:
            self.shared = dict(shared)
            self._made.clear()

    def replays(self) -> dict[str, Domain]:
        """Return the replays of all sites seen so far, in the order of their arrival.

        On a frozen backbone a prompt makes the same pairs for ever, so those made before are used again.
        """
        stale = {site: prompt for site, prompt in self.prompts.items() if site not in self._made}
        self._made |= make_replays(self._config, self._setting, self.shared, stale, self._config.replays)
        return {site: self._made[site] for site in self._setting.sites if site in self.prompts}

    def state_dict(self) -> State:
        shared = {f"shared/{name}": value for name, value in self.shared.items()}
        prompts = {f"prompt/{s}/{name}": value for s, prompt in self.prompts.items() for name, value in prompt.items()}
        return {**shared, **prompts}

    def load_state_dict(self, state: State) -> None:
        self.shared = {k.removeprefix("shared/"): v for k, v in state.items() if k.startswith("shared/")}
        self.prompts = {}
        for key, value in state.items():
            if key.startswith("prompt/"):
                _, site, name = key.split("/", 2)
                self.prompts.setdefault(site, {})[name] = value
