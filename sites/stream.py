"""What a site holds at a moment: cases, the source they come from, and the stream that forgets them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel
from torch import Tensor

from sites.errors import DataGone
from sites.files import write_whole

if TYPE_CHECKING:
    from sites.privacy import PrivateTraining

C = TypeVar("C", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The form of every case of a task, known before any data are read.

    `slices` is an upper bound for a case; `structures` names the mask channels in their order.
    """

    channels: int
    height: int
    width: int
    slices: int
    structures: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One patient's images with their reference segmentation.

    images: float32 [slices, channels, height, width] in 0..1
    masks: uint8 [slices, structures, height, width], each 0 or 1; structures may overlap (a cup lies in its disc)
    spacing: millimetres between (slices, rows, columns)
    patient: the site's own identifier; it never leaves the site
    """

    patient: str
    images: Tensor
    masks: Tensor
    spacing: tuple[float, float, float]


class Source(Protocol):
    """What a new dataset implements: where the cases of each site come from.

    Training and held-out cases are disjoint by patient. Both calls are deterministic, and raise
    `SourceError` where the site is unknown or has fewer training cases than asked for.
    """

    @property
    def shape(self) -> Shape: ...

    @property
    def sites(self) -> tuple[str, ...]: ...

    def train(self, site: str, first: int, count: int) -> tuple[Case, ...]:
        """Return training cases number `first` to `first + count - 1` of a site."""
        ...

    def held_out(self, site: str, count: int) -> tuple[Case, ...]:
        """Return the first `count` held-out cases of a site, or all where it has fewer (never none)."""
        ...


@runtime_checkable
class Rescanning(Protocol):
    """What a source of simulated scanners may also offer: one site's cases as another site's scanner sees them.

    A source does where its sites differ in more than their scanners, so that the two can be told apart.
    """

    def rescan(self, scanner: str, site: str, first: int, count: int) -> tuple[Case, ...]:
        """Return training cases of a site, numbered as in `Source.train`, as the scanner of `scanner` sees them."""
        ...


@dataclass(frozen=True, kw_only=True)
class SourceKind(Generic[C]):
    """What a module in `sites/sources/` holds as SOURCE: its settings, and how to open it.

    `open` takes the task's name, the settings and the run's seed.
    """

    config: type[C]
    open: Callable[[str, C, int], Source]


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A place in the run's total order: `serial` counts the turns of all steps, rounds and groups from zero."""

    step: int
    round: int
    serial: int

    @property
    def first(self) -> bool:
        """Whether no site learnt before: turn 0 scores the untrained network, turn 1 is the first to learn."""
        return self.serial <= 1

    def as_row(self) -> dict[str, int]:
        """Return the step and round, as a ledger row names them."""
        return {"step": self.step, "round": self.round}


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """The data that a site holds now, the seed of this turn at this site, and the privacy that training must keep."""

    site: str
    step: int
    round: int
    cases: tuple[Case, ...]
    seed: int
    privacy: PrivateTraining | None = None


@dataclass(frozen=True, kw_only=True)
class Visit:
    """When a site's data arrive and go: training cases `first` to `first + count - 1`, held from step to step."""

    step: int
    last_step: int
    first: int
    count: int


class SiteStream:
    """Hands out a site's current cases, and forgets the past: a step once left can't be asked for again.

    `place` is the file that remembers the newest step, so that a restarted site forgets as well.
    """

    def __init__(self, source: Source, site: str, visits: tuple[Visit, ...], place: Path) -> None:
        self._source = source
        self._site = site
        self._visits = visits
        self._place = place

    def open(self, step: int) -> tuple[Case, ...]:
        """Return the training cases held at a step. Raises `DataGone` where the site holds none, or has moved on."""
        newest = int(self._place.read_text()) if self._place.exists() else 0
        current = [visit for visit in self._visits if visit.step <= step][-1:]
        if step < newest or not current or step > current[0].last_step:
            raise DataGone(f"step {step}: the site holds no such data (its newest step is {newest})")
        write_whole(self._place, str(step))
        return self._source.train(self._site, current[0].first, current[0].count)
