"""Procedural patients with exact masks, seen through a different scanner at every site.

The anatomy is drawn from one distribution; only the scanner differs between sites (`sites.py` has the tables). Every
patient has a random generator of its own, keyed by (seed, task, site, split, number), so any case can be made by
itself, in any order, and no two sites share a patient.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator

from sites.errors import SourceError
from sites.sources.phantom.fundus import draw_fundus
from sites.sources.phantom.painting import Drawing, Grid
from sites.sources.phantom.prostate import draw_prostate
from sites.sources.phantom.scanners import Device
from sites.sources.phantom.sites import SCANNERS, cameras, scanners
from sites.stream import Case, Shape, SourceKind


class PhantomConfig(BaseModel):
    """The settings of a phantom data set.

    size: rows and columns of an image, a multiple of 8
    slices: slices (prostate) or photographs of an eye (fundus) per patient; None for 4 and 1
    shift: multiplies every site's deviation from the reference scanner; 0 makes all sites alike
    contrast_reversal: sites where bright and dark change places, which makes zero-shot transfer fail by choice
    seed: of the data set; None for the run's, so that runs differ in their patients too
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(default=48, ge=32, multiple_of=8)
    slices: int | None = Field(default=None, ge=1)
    shift: float = Field(default=0.6, ge=0.0, allow_inf_nan=False)
    contrast_reversal: tuple[str, ...] = ()
    seed: int | None = Field(default=None, ge=0)

    @field_validator("contrast_reversal")
    @classmethod
    def _sites_exist(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in SCANNERS:
                raise ValueError(f"no site {name!r}; name sites of {', '.join(SCANNERS)}")
        return names


@dataclass(frozen=True, kw_only=True)
class _Task:
    structures: tuple[str, ...]
    channels: int
    slices: int
    draw: Callable[[np.random.Generator, Grid, int], Drawing]
    devices: Callable[[float], Mapping[str, Device]]


TASKS: Final[Mapping[str, _Task]] = {
    "prostate": _Task(structures=("prostate",), channels=1, slices=4, draw=draw_prostate, devices=scanners),
    "fundus": _Task(structures=("cup", "disc"), channels=3, slices=1, draw=draw_fundus, devices=cameras),
}


class Phantom:
    """A source with as many patients at every site as are asked for."""

    def __init__(self, task: str, config: PhantomConfig, seed: int) -> None:
        self._name = task
        self._task = TASKS[task]
        self._config = config
        self._seed = seed if config.seed is None else config.seed
        self._devices = self._task.devices(config.shift)

    @property
    def shape(self) -> Shape:
        return Shape(
            channels=self._task.channels,
            height=self._config.size,
            width=self._config.size,
            slices=self._config.slices or self._task.slices,
            structures=self._task.structures,
        )

    @property
    def sites(self) -> tuple[str, ...]:
        return tuple(self._devices)

    def train(self, site: str, first: int, count: int) -> tuple[Case, ...]:
        """Return training cases number `first` (from 0) to `first + count - 1`; SourceError for an unknown site."""
        return tuple(self._case(site, "train", number) for number in range(first, first + count))

    def held_out(self, site: str, count: int) -> tuple[Case, ...]:
        """Return the first `count` held-out cases; SourceError for an unknown site."""
        return tuple(self._case(site, "held-out", number) for number in range(count))

    def _case(self, site: str, split: str, number: int) -> Case:
        device = self._device(site)
        grid = Grid(size=self._config.size, pixel=device.view / self._config.size)
        drawing = self._task.draw(self._generator(site, split, number, "anatomy"), grid, self.shape.slices)
        image = device.image(
            self._generator(site, split, number, "device"),
            drawing,
            grid,
            contrast_reversed=site in self._config.contrast_reversal,
        )
        return Case(
            patient=f"{site}-{split}-{number:04d}",
            images=torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)),
            masks=torch.from_numpy(np.ascontiguousarray(drawing.masks)),
            spacing=(drawing.slice_mm, grid.pixel, grid.pixel),
        )

    def _device(self, site: str) -> Device:
        if site not in self._devices:
            raise SourceError(f"phantom {self._name}: no site {site!r}; use one of {', '.join(self._devices)}")
        return self._devices[site]

    def _generator(self, site: str, split: str, number: int, purpose: str) -> np.random.Generator:
        # Names become integers by their CRC: hash() of a string differs from one process to the next.
        names = (zlib.crc32(name.encode()) for name in (self._name, site, split, purpose))
        return np.random.default_rng(np.random.SeedSequence([self._seed, *names, number]))


def open_phantom(task: str, config: PhantomConfig, seed: int) -> Phantom:
    """Open the phantom data set of a task, `prostate` or `fundus`; `seed` (0 or more) is the run's.

    Raises SourceError for any other task.
    """
    if task not in TASKS:
        raise SourceError(f"task: {task!r} has no phantom; set task to one of {', '.join(TASKS)}")
    return Phantom(task, config, seed)


SOURCE: Final = SourceKind(config=PhantomConfig, open=open_phantom)
