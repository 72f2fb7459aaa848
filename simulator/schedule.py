"""A schedule that can run: YAML resolved into sites, strategy, policies, and a totally ordered timeline."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from simulator.config import ScheduleConfig, file_or_shipped, shipped
from simulator.defending import check_policies
from simulator.document import DUMPER, Document
from sites import sources
from sites.errors import ConfigError, UserError
from sites.policy import SitePolicy
from sites.seeds import seed_of, seeded
from sites.stream import Source, Visit
from strategies import Server, Strategy, load
from strategies.setting import Setting


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of the timeline: who arrives, who holds data (in order of arrival); `number` counts from 1."""

    number: int
    arriving: tuple[str, ...]
    online: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The arrivals in their total order. `visits` says for every site which cases it holds, and when."""

    steps: tuple[Step, ...]
    visits: Mapping[str, tuple[Visit, ...]]
    unseen: tuple[str, ...]

    @property
    def seen(self) -> tuple[str, ...]:
        """The sites that arrive, in the order of their first arrival."""
        return tuple(self.visits)

    @property
    def sites(self) -> tuple[str, ...]:
        return (*self.seen, *self.unseen)

    @property
    def arrivals(self) -> dict[str, tuple[int, ...]]:
        """The steps at which each site arrives; none for an unseen one."""
        return {site: tuple(visit.step for visit in self.visits.get(site, ())) for site in self.sites}


def timeline_of(config: ScheduleConfig) -> Timeline:
    """Lay out a schedule's arrivals: every visit's cases follow those of the visits before it."""
    count = len(config.arrivals)
    visits: dict[str, list[Visit]] = {}
    for number, step in enumerate(config.arrivals, start=1):
        for arrival in step:
            earlier = visits.setdefault(arrival.site, [])
            stay = config.stay if arrival.stay is None else arrival.stay
            last_step = count if stay == "forever" else min(count, number + stay)
            first = sum(visit.count for visit in earlier)
            train = arrival.train or config.cases.train
            earlier.append(Visit(step=number, last_step=last_step, first=first, count=train))
    steps = tuple(
        Step(
            number=number,
            arriving=tuple(arrival.site for arrival in step),
            online=tuple(site for site, held in visits.items() if _holds(held, number)),
        )
        for number, step in enumerate(config.arrivals, start=1)
    )
    return Timeline(steps=steps, visits={site: tuple(held) for site, held in visits.items()}, unseen=config.unseen)


def _holds(visits: Iterable[Visit], step: int) -> bool:
    current = [visit for visit in visits if visit.step <= step][-1:]
    return bool(current) and step <= current[0].last_step


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """All that a run needs, checked: what the YAML at `path` says, and what it names."""

    path: Path
    config: ScheduleConfig
    strategy: Strategy[Any, Any, Any]
    strategy_config: BaseModel
    source_config: BaseModel

    @cached_property
    def timeline(self) -> Timeline:
        return timeline_of(self.config)

    @cached_property
    def source(self) -> Source:
        kind = sources.load(self.config.source.kind)
        return kind.open(self.config.task, self.source_config, self.config.seed)

    @cached_property
    def policies(self) -> Mapping[str, SitePolicy]:
        """The policy of every site, read from its file. Raises `ConfigError` where one does not hold."""
        config = self.config
        documents = {
            site: Document.read(_policy_path(config.site_policies.get(site, config.policy)))
            for site in self.timeline.sites
        }
        return {site: document.validated(SitePolicy, document.data) for site, document in documents.items()}

    @cached_property
    def setting(self) -> Setting:
        return Setting(
            shape=self.source.shape,
            network=self.config.network,
            budget=self.config.budget,
            augmentation=self.config.augmentation,
            seed=self.config.seed,
            sites=self.timeline.seen,
            most_cases=max(visit.count for visits in self.timeline.visits.values() for visit in visits),
        )

    @property
    def turn_seconds(self) -> float:
        """How long a turn may take: what each site has for its answer, and the server, which works in it, as much."""
        return self.config.limits.reply_seconds * (len(self.timeline.sites) + 1)

    def new_server(self) -> Server[Any, Any]:
        """Build the strategy's server as a run begins with it, what is random in it drawn from the run's seed."""
        with seeded(seed_of(self.config.seed, "server")):
            return self.strategy.server(self.strategy_config, self.setting)

    def resolved(self) -> dict[str, Any]:
        """Return every setting, defaults included, as plain values that `resolve` takes again."""
        return {
            **self.config.model_dump(mode="json"),
            "source": {"kind": self.config.source.kind, **self.source_config.model_dump(mode="json")},
            "strategy": {"name": self.config.strategy.name, **self.strategy_config.model_dump(mode="json")},
        }

    def as_json(self) -> str:
        return json.dumps(self.resolved(), sort_keys=True)

    def check(self) -> None:
        """Make sure, before any work, that sources hold what is asked, and that policies admit and can be kept to.

        Raises `ConfigError` or `SourceError`.
        """
        held = self.source.sites
        for site in self.timeline.sites:
            if site not in held:
                near = difflib.get_close_matches(site, held, n=1)
                hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(held)}"
                raise ConfigError(f"{self.path}: source '{self.config.source.kind}' has no site '{site}'; {hint}")
            self.source.held_out(site, 1)
        for site, visits in self.timeline.visits.items():
            self.source.train(site, visits[-1].first + visits[-1].count - 1, 1)
        check_policies(self)


def read_schedule(path: Path, overrides: Iterable[str] = (), seed: int | None = None) -> Schedule:
    """Read and check a schedule YAML. Raises `ConfigError` with file, line, key and fix."""
    document = schedule_document(path)
    for assignment in overrides:
        document.override(assignment)
    if seed is not None:
        document.override(f"seed={seed}")
    return resolve(document)


def schedule_document(path: Path) -> Document:
    """Read a schedule's YAML file, or a shipped one by its name, as it stands. Raises `ConfigError`."""
    path = file_or_shipped(path, "schedules")
    document = Document.read(path)
    document.data.setdefault("name", path.stem)
    return document


def resolve(document: Document) -> Schedule:
    """Return the schedule that a document describes. Raises `ConfigError` with file, line, key and fix."""
    schedule = rebuild(document)
    for name in (schedule.config.policy, *schedule.config.site_policies.values()):
        if not _policy_path(name).exists():
            raise ConfigError(
                f"{document.origin(('policy',))}: policy: there is no policy '{name}'; "
                f"shipped are {', '.join(shipped('policies'))}, or name a YAML file"
            )
    return schedule


def from_json(text: str) -> Schedule:
    """Rebuild a schedule from `Schedule.as_json`."""
    return rebuild(Document(Path(), json.loads(text), {}))


def rebuild(document: Document) -> Schedule:
    """Do as `resolve` does for a run that has begun, whose sites hold copies of policies that may be gone."""
    config = document.validated(ScheduleConfig, document.data)
    try:
        strategy = load(config.strategy.name)
    except UserError as error:
        raise ConfigError(f"{document.origin(('strategy', 'name'))}: strategy: {error}") from error
    try:
        kind = sources.load(config.source.kind)
    except UserError as error:
        raise ConfigError(f"{document.origin(('source', 'kind'))}: source: {error}") from error
    base = document.path.parent
    source_config = document.validated(kind.config, config.source.model_extra or {}, ("source",))
    strategy_config = document.validated(strategy.config, config.strategy.model_extra or {}, ("strategy",))
    return Schedule(
        path=document.path,
        config=config.model_copy(
            update={
                "policy": _rooted_policy(config.policy, base),
                "site_policies": {site: _rooted_policy(name, base) for site, name in config.site_policies.items()},
            }
        ),
        strategy=strategy,
        strategy_config=strategy_config,
        source_config=_rooted(source_config, document),
    )


def _rooted(config: BaseModel, document: Document) -> BaseModel:
    """Take a relative path in a source's settings as relative to where it was written."""
    at = {name: document.base(("source", name)) for name, _ in config}
    paths = {name: (at[name] / value).resolve() for name, value in config if isinstance(value, Path)}
    return config.model_copy(update=paths)


def _rooted_policy(name: str, base: Path) -> str:
    return name if name in shipped("policies") else str((base / name).resolve())


def _policy_path(name: str) -> Path:
    return shipped("policies").get(name, Path(name))


def as_yaml(values: Mapping[str, Any]) -> str:
    """Return settings as YAML, keys in their given order."""
    text: str = yaml.dump(dict(values), Dumper=DUMPER, sort_keys=False, allow_unicode=True, width=100)
    return text
