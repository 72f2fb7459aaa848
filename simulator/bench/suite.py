"""The keys of a suite YAML: which schedules, strategies, site orders and seeds are compared."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from simulator.bench.keeping import Keep
from simulator.config import SiteName, file_or_shipped
from simulator.document import Document

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Label = Annotated[str, StringConstraints(min_length=1, max_length=80, strip_whitespace=True)]
Order = Annotated[tuple[SiteName, ...], Field(min_length=1)]
Orders = Annotated[int, Field(ge=1)] | Annotated[tuple[Order, ...], Field(min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ScheduleEntry(_Frozen):
    """A schedule of the suite.

    schedule: a shipped schedule's name, or a path relative to the suite's file
    name: what it is called in the results; the schedule's own name unless it is given
    set: values in place of the schedule's, by dotted key
    orders: site orders of this schedule, in place of the suite's
    """

    schedule: str
    name: Name | None = None
    set: dict[str, Any] = {}
    orders: Orders | None = None


class StrategyEntry(_Frozen):
    """A strategy of the suite.

    name: as in a schedule
    label: what it is called in the results; its name unless it is given
    settings: the strategy's own, in place of its defaults; a schedule's settings of its strategy don't count
    policy: what this strategy's sites let out: a shipped policy's name, or a path relative to the suite's file
    set: values in place of the schedule's, by dotted key, for this strategy alone
    """

    name: str
    label: Label = ""
    settings: dict[str, Any] = {}
    policy: str | None = None
    set: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _label_is_name(cls, value: Any) -> Any:
        return {"label": value["name"], **value} if isinstance(value, dict) and "name" in value else value


class Exclusion(_Frozen):
    """Trials that are left out: those that agree in all that is given. `order` is written as A-B-C."""

    schedule: str | None = None
    strategy: str | None = None
    order: str | None = None
    seed: int | None = None

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not self.model_dump(exclude_none=True):
            raise ValueError("name a schedule, strategy, order or seed; an empty entry would leave out every trial")
        return self


def _named(key: str) -> BeforeValidator:
    """Read a bare name as the entry of that name."""
    return BeforeValidator(lambda value: {key: value} if isinstance(value, str) else value)


class SuiteConfig(_Frozen):
    """A suite: every schedule x strategy x order x seed is a trial.

    orders: lists of the sites that arrive, or a count: the order given in the schedule first, then seeded shuffles.
        The sites of an order take the schedule's places one after another, each place with its cases and its stay
    seeds: a list, or a count: 0, 1, ...
    reference: label of the joint run that intransigence is measured against
    control: label of the strategy that each other one is compared with, in place of every pair, as in an ablation
    exclude: trials that are left out
    keep: of a trial that is done, its networks as well (segmenters and checkpoint), which `wardround exposure`,
        `wardround replay` and the pictures of its own report need; or its results alone
    trial_seconds: how long a trial may take at one go, by the clock; one that takes longer has failed. So has one that
        hangs, whatever is set here: none of its turns ended in the schedule's limits.reply_seconds for each site
    """

    name: Name
    description: str = ""
    schedules: Annotated[tuple[Annotated[ScheduleEntry, _named("schedule")], ...], Field(min_length=1)]
    strategies: Annotated[tuple[Annotated[StrategyEntry, _named("name")], ...], Field(min_length=1)]
    orders: Orders = 1
    seeds: Annotated[int, Field(ge=1, le=10_000)] | Annotated[tuple[Seed, ...], Field(min_length=1)] = 1
    reference: str | None = None
    control: str | None = None
    exclude: tuple[Exclusion, ...] = ()
    keep: Keep = "networks"
    trial_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(entry.label for entry in self.strategies)

    @property
    def seed_list(self) -> tuple[int, ...]:
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds

    @model_validator(mode="after")
    def _names_hold(self) -> Self:
        if twice := repeated(self.labels):
            raise ValueError(f"strategies: '{twice}' is there twice; give each a label of its own")
        if twice := repeated(self.seed_list):
            raise ValueError(f"seeds: {twice} is there twice; list it once")
        named = [self.reference, self.control, *(exclusion.strategy for exclusion in self.exclude)]
        if strange := next((label for label in named if label is not None and label not in self.labels), None):
            there = ", ".join(self.labels)
            raise ValueError(f"reference, control, exclude: '{strange}' labels no strategy; there are {there}")
        return self


def repeated(values: Iterable[Any]) -> Any:
    """Return the first value that is there for the second time, or None."""
    seen: set[Any] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def suite_document(path: Path) -> Document:
    """Read a suite's YAML file, or a shipped one by its name. Raises `ConfigError`."""
    path = file_or_shipped(path, "suites")
    document = Document.read(path)
    document.data.setdefault("name", path.stem)
    return document
