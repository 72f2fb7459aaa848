"""The keys of an arrival-schedule YAML, read once into a frozen model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from strategies.setting import Augmentation, Budget, NetworkConfig

SiteName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
Stay = Literal["forever"] | Annotated[int, Field(ge=0)]

# By its place and not by import: Opacus installs a package of the same name, which may be found first.
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CaseCounts(_Frozen):
    """How many cases a site brings: to train on in an arrival, and held out for scoring."""

    train: int = Field(default=20, ge=1)
    held_out: int = Field(default=6, ge=1)


class ArrivalConfig(_Frozen):
    """One site's arrival. `stay`: for how many further steps it stays online with these data."""

    site: SiteName
    train: int | None = Field(default=None, ge=1)
    stay: Stay | None = None


class Limits(_Frozen):
    """Bounds on waiting. `reply_seconds`: how long one site may take to answer one message."""

    reply_seconds: float = Field(default=3600, gt=0)


class Named(BaseModel):
    """A strategy by its name, with its own settings beside it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str


class Sourced(BaseModel):
    """A source by its kind, with its own settings beside it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str


def _as_step(value: Any) -> Any:
    """Read `A`, `{site: A}` and `[A, {site: B}]` alike as a list of arrivals."""
    entries = value if isinstance(value, list | tuple) else [value]
    return [{"site": str(entry)} if isinstance(entry, str | int) else entry for entry in entries]


Step = Annotated[tuple[ArrivalConfig, ...], BeforeValidator(_as_step), Field(min_length=1)]


class ScheduleConfig(_Frozen):
    """An arrival schedule.

    arrivals: one entry a step: a site, or several that arrive together; a site may arrive again with new cases
    unseen: sites that never train and are scored after every step
    stay: for how many further steps a site stays online with its data, unless its arrival says otherwise
    augmentation: of the training slices, alike for every strategy
    policy: a shipped policy's name or a YAML file, for every site that `site_policies` does not name
    """

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    task: str
    source: Annotated[Sourced, BeforeValidator(lambda value: {"kind": value} if isinstance(value, str) else value)]
    arrivals: tuple[Step, ...] = Field(min_length=1)
    unseen: tuple[SiteName, ...] = ()
    cases: CaseCounts = CaseCounts()
    stay: Stay = 0
    seed: int = Field(default=0, ge=0, lt=2**31)
    strategy: Annotated[Named, BeforeValidator(lambda value: {"name": value} if isinstance(value, str) else value)]
    policy: str = "default"
    site_policies: dict[SiteName, str] = {}
    network: NetworkConfig = NetworkConfig()
    budget: Budget
    augmentation: Augmentation = "none"
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _sites_hold(self) -> Self:
        arriving = [[arrival.site for arrival in step] for step in self.arrivals]
        for number, step in enumerate(arriving, start=1):
            if len(set(step)) < len(step):
                raise ValueError(f"arrivals: a site arrives twice in step {number}; list it once")
        seen = {site for step in arriving for site in step}
        if both := sorted(seen & set(self.unseen)):
            raise ValueError(f"unseen: {', '.join(both)} arrives too; list a site either there or in arrivals")
        if len(set(self.unseen)) < len(self.unseen):
            raise ValueError("unseen: a site is listed twice; list it once")
        if strangers := sorted(self.site_policies.keys() - seen - set(self.unseen)):
            raise ValueError(f"site_policies: {', '.join(strangers)} is no site of this schedule")
        return self


def shipped(folder: Literal["schedules", "policies", "suites"]) -> dict[str, Path]:
    """Return the YAML files that come with the project, by stem."""
    place = BENCHMARKS if folder == "suites" else BENCHMARKS / folder
    return {path.stem: path for path in sorted(place.glob("*.yaml"))}


def file_or_shipped(path: Path, folder: Literal["schedules", "suites"]) -> Path:
    """Return the file that a path names, or else the YAML file of that bare name that comes with the project."""
    bare = not path.is_file() and path.parent == Path()
    return shipped(folder).get(path.stem, path) if bare else path
