"""Everything that the report of a run shows, apart from how a run is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from simulator.metrics import ScoreMatrix


@dataclass(frozen=True, kw_only=True)
class StepView:
    """One step (counted from 1): the sites whose data arrived, and the sites that were online."""

    step: int
    arriving: tuple[str, ...]
    online: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One held-out slice of a site, with what the network made of it.

    image: float [H, W] or [H, W, 3] in 0..1
    reference: uint8 [structures, H, W], each 0 or 1
    predictions: by step, uint8 [structures, H, W]
    """

    site: str
    image: npt.NDArray[np.floating]
    reference: npt.NDArray[np.uint8]
    predictions: Mapping[int, npt.NDArray[np.uint8]]


@dataclass(frozen=True, kw_only=True, eq=False)
class RunView:
    """A run as its report shows it.

    settings: resolved settings, dotted key -> value; versions: package -> version
    steps: all that the schedule plans, whether the run got there or not
    sites: in order of first arrival, then the unseen ones, which `unseen` names again
    scores: columns step (0 = untrained), site, case, structure, dice (0..1), hd95 (mm), asd (mm)
    releases: what left each site as receipted: columns site, step, purpose ("learn" or "score"), field, kind, bytes
    failures: a sentence for each; empty where all went well
    complete: whether the run reached its last step
    """

    name: str
    task: str
    strategy: str
    settings: Mapping[str, str]
    versions: Mapping[str, str]
    seed: int
    steps: tuple[StepView, ...]
    unseen: tuple[str, ...]
    sites: tuple[str, ...]
    structures: tuple[str, ...]
    scores: pd.DataFrame
    releases: pd.DataFrame
    samples: tuple[Sample, ...]
    failures: tuple[str, ...]
    complete: bool

    @property
    def arrivals(self) -> dict[str, tuple[int, ...]]:
        """The steps at which each site is planned to arrive, in the order of `sites`; () for an unseen one."""
        return {site: tuple(step.step for step in self.steps if site in step.arriving) for site in self.sites}

    @property
    def last_step(self) -> int:
        """The last step that was scored; 0 where there is none."""
        return 0 if self.scores.empty else int(self.scores["step"].max())

    def matrix(self, metric: str) -> ScoreMatrix:
        """Return the score matrix of a metric ("dice", "hd95" or "asd")."""
        return ScoreMatrix.from_rows(self.scores, metric, self.arrivals)
