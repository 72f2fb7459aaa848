"""The trials of a suite: every schedule x strategy x order x seed, resolved, checked, and named by what decides it."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from simulator.bench.code import code_version
from simulator.bench.data import fingerprint
from simulator.bench.suite import Orders, ScheduleEntry, StrategyEntry, SuiteConfig, repeated, suite_document
from simulator.config import shipped
from simulator.document import Document, Place
from simulator.schedule import Schedule, resolve, schedule_document
from sites.errors import ConfigError
from sites.seeds import seed_of


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run of a suite.

    spec: SHA-256 (hex, 16 digits) of all that the suite decides: the resolved schedule, and what the sites' policies
        and a data folder hold, wherever they lie
    identity: the same over `spec` and the version of the code; the name of its folder
    order: the sites in the order of their first arrival, joined by "-"
    """

    spec: str
    identity: str
    schedule_name: str
    strategy: str
    order: str
    seed: int
    schedule: Schedule

    @property
    def place(self) -> str:
        """What a person calls the trial."""
        return f"{self.schedule_name}, {self.strategy}, {self.order}, seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A suite with its trials, in its own order: schedule, strategy, order, seed."""

    path: Path
    config: SuiteConfig
    overrides: tuple[str, ...]
    schedules: tuple[str, ...]
    trials: tuple[Trial, ...]

    def settings(self) -> dict[str, Any]:
        """Return the settings of each strategy in its first trial, defaults included, by label."""
        first = {trial.strategy: trial.schedule.strategy_config for trial in reversed(self.trials)}
        return {label: first[label].model_dump(mode="json") for label in self.config.labels if label in first}

    def resolved(self) -> dict[str, Any]:
        """Return the suite as plain values that run again from anywhere, the overrides taken into each strategy."""
        values = self.config.model_dump(mode="json", exclude_defaults=True) | {"name": self.config.name}
        changed = {key: yaml.safe_load(value) for key, _, value in (text.partition("=") for text in self.overrides)}
        for entry in values["schedules"]:
            path = _beside(self.path, entry["schedule"])
            entry["schedule"] = entry["schedule"] if not path.is_file() else str(path.resolve())
        for entry in values["strategies"]:
            entry["set"] = entry.get("set", {}) | changed
            if "policy" in entry:
                entry["policy"] = _policy_beside(self.path, entry["policy"])
        return values


def read_suite(path: Path, overrides: Iterable[str] = ()) -> Suite:
    """Read a suite and lay out its trials; `overrides` (key=value) change every schedule.

    Raises `ConfigError` with file, line, key and fix. The trials are not yet checked: `Schedule.check` does it.
    """
    document, overrides = suite_document(path), tuple(overrides)
    config = document.validated(SuiteConfig, document.data)
    names: list[str] = []
    trials: list[Trial] = []
    for row, entry in enumerate(config.schedules):
        found = list(_trials_of(document, config, row, entry, overrides))
        names.append(found[0].schedule_name)
        trials += found
    where = document.origin(("schedules",))
    if twice := repeated(names):
        raise ConfigError(f"{where}: schedules: '{twice}' is there twice; give each a name of its own")
    for exclusion in config.exclude:
        if exclusion.schedule is not None and exclusion.schedule not in names:
            raise ConfigError(f"{document.origin(('exclude',))}: exclude: there is no schedule '{exclusion.schedule}'")
    trials = [trial for trial in trials if not _excluded(trial, config)]
    if not trials:
        raise ConfigError(f"{document.origin(('exclude',))}: exclude: leaves no trial; take an entry out")
    if twice := repeated(trial.spec for trial in trials):
        same = [trial.place for trial in trials if trial.spec == twice]
        raise ConfigError(f"{where}: these are one and the same trial: {'; '.join(same)}; leave out all but one")
    return Suite(path=document.path, config=config, overrides=overrides, schedules=tuple(names), trials=tuple(trials))


def _trials_of(
    document: Document, config: SuiteConfig, row: int, entry: ScheduleEntry, overrides: Sequence[str]
) -> Iterator[Trial]:
    for column, strategy in enumerate(config.strategies):
        base = _combined(document, (row, entry), (column, strategy), overrides)
        version = code_version(base.strategy.learn.__module__, type(base.source_config).__module__)
        data = {name: fingerprint(path) for name, path in base.source_config if isinstance(path, Path)}
        where = document.origin(("schedules", row, "orders") if entry.orders is not None else ("orders",))
        for order in _orders(base, config.orders if entry.orders is None else entry.orders, where):
            ordered = _ordered(base, order)
            for seed in config.seed_list:
                schedule = replace(ordered, config=ordered.config.model_copy(update={"seed": seed}))
                spec = _digest(_decisive(schedule, data))
                yield Trial(
                    spec=spec,
                    identity=_digest(spec + version),
                    schedule_name=schedule.config.name,
                    strategy=strategy.label,
                    order="-".join(order),
                    seed=seed,
                    schedule=schedule,
                )


def _combined(
    suite: Document, row: tuple[int, ScheduleEntry], column: tuple[int, StrategyEntry], overrides: Sequence[str]
) -> Schedule:
    """Return a schedule as one strategy of the suite runs it: schedule < its entry < strategy < command line."""
    (number, entry), (position, strategy) = row, column
    of_schedule: Place = ("schedules", number)
    of_strategy: Place = ("strategies", position)
    try:
        document = schedule_document(_beside(suite.path, entry.schedule))
    except ConfigError as error:
        raise ConfigError(f"{suite.origin((*of_schedule, 'schedule'))}: schedule: {error}") from error
    if entry.name is not None:
        document.assign("name", entry.name, suite.origin((*of_schedule, "name")))
    for key, value in entry.set.items():
        document.assign(key, value, suite.origin((*of_schedule, "set", key)))
    document.assign("strategy", {"name": strategy.name}, suite.origin((*of_strategy, "name")))
    for key, value in strategy.settings.items():
        document.assign(f"strategy.{key}", value, suite.origin((*of_strategy, "settings", key)))
    if strategy.policy is not None:
        document.assign("policy", _policy_beside(suite.path, strategy.policy), suite.origin((*of_strategy, "policy")))
    for key, value in strategy.set.items():
        document.assign(key, value, suite.origin((*of_strategy, "set", key)))
    before = document.origin(("seed",))
    for assignment in overrides:
        document.override(assignment)
    if any("seed" in keys for keys in (entry.set, strategy.set)) or document.origin(("seed",)) != before:
        raise ConfigError(f"{document.origin(('seed',))}: seed: a suite lists its seeds under 'seeds'; leave this out")
    return resolve(document)


def _beside(suite: Path, name: str) -> Path:
    """Return the path of a schedule that a suite names: relative to its file, or a shipped one's name."""
    beside = suite.parent / name
    return Path(name) if not beside.is_file() and name in shipped("schedules") else beside


def _policy_beside(suite: Path, name: str) -> str:
    return name if name in shipped("policies") else str((suite.parent / name).resolve())


def _orders(schedule: Schedule, orders: Orders, where: str) -> tuple[tuple[str, ...], ...]:
    """Return the site orders to run. A larger count goes on where a smaller one ended."""
    given = schedule.timeline.seen
    if not isinstance(orders, int):
        if twice := repeated(orders):
            raise ConfigError(f"{where}: orders: {'-'.join(twice)} is there twice; list it once")
        for order in orders:
            if sorted(order) != sorted(given):
                raise ConfigError(
                    f"{where}: orders: {'-'.join(order)} must name each site that arrives in "
                    f"'{schedule.config.name}' once: {', '.join(given)}"
                )
        return orders
    if orders > (most := math.factorial(len(given))):
        raise ConfigError(f"{where}: orders: {len(given)} sites have only {most} orders; ask for no more")
    found = [given]
    shuffles = random.Random(seed_of(0, "orders"))
    while len(found) < orders:
        order = tuple(shuffles.sample(given, len(given)))
        if order not in found:
            found.append(order)
    return tuple(found)


def _ordered(schedule: Schedule, order: Sequence[str]) -> Schedule:
    """Let the sites of an order take the places of the schedule's sites, each place with its cases and stay."""
    taking = dict(zip(schedule.timeline.seen, order, strict=True))
    arrivals = tuple(
        tuple(arrival.model_copy(update={"site": taking[arrival.site]}) for arrival in step)
        for step in schedule.config.arrivals
    )
    return replace(schedule, config=schedule.config.model_copy(update={"arrivals": arrivals}))


def _decisive(schedule: Schedule, data: Mapping[str, str]) -> str:
    """Return all that the suite decides about a trial: its settings, and what policies and data hold, not where.

    data: in place of the source's settings that are paths
    """
    settings = schedule.resolved()
    settings["source"] |= data
    del settings["policy"], settings["site_policies"]
    policies = {site: policy.model_dump(mode="json") for site, policy in schedule.policies.items()}
    return json.dumps([settings, policies], sort_keys=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _excluded(trial: Trial, config: SuiteConfig) -> bool:
    told = {"schedule": trial.schedule_name, "strategy": trial.strategy, "order": trial.order, "seed": trial.seed}
    return any(
        all(told[key] == value for key, value in exclusion.model_dump(exclude_none=True).items())
        for exclusion in config.exclude
    )
