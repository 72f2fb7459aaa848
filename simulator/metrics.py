"""The score matrix of a run, and the scores of continual learning read off it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

NAN = float("nan")


@dataclass(frozen=True)
class Metric:
    """A measure of segmentation: its column in the score table, its title, and its unit ("" for none)."""

    key: str
    title: str
    unit: str
    higher_is_better: bool


METRICS = (
    Metric("dice", "Dice", "", higher_is_better=True),
    Metric("hd95", "HD95", "mm", higher_is_better=False),
    Metric("asd", "ASD", "mm", higher_is_better=False),
)


@dataclass(frozen=True, eq=False)
class ScoreMatrix:
    """The scores R[i, j] of site j after step i of T, with b_j = R[0, j] those of the untrained network.

    values: float64 [T + 1, sites]; NaN where a score is missing or undefined
    sites: the columns in their order
    arrivals: the steps (1..T, ascending) at which a site's data arrived; empty where it was never seen
    higher_is_better: False for distances

    In the formulas f_j is the first and l_j the latest arrival of site j, and s is 1, or -1 where lower is
    better: transfer above zero is always good, forgetting above zero always bad. Every score is NaN where no
    site qualifies, and where a score that it needs is missing: a mean over fewer sites would hide the gap.
    """

    values: npt.NDArray[np.float64]
    sites: tuple[str, ...]
    arrivals: Mapping[str, tuple[int, ...]]
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=np.float64)
        if values.ndim != 2 or len(values) < 1 or values.shape[1] != len(self.sites):
            raise ValueError(f"values must be [T + 1, {len(self.sites)} sites], not {list(values.shape)}")
        if len(set(self.sites)) != len(self.sites) or set(self.arrivals) != set(self.sites):
            raise ValueError("arrivals must name each site of the matrix once, with () where it was never seen")
        for site, steps in self.arrivals.items():
            if list(steps) != sorted(set(steps)) or any(not 1 <= step < len(values) for step in steps):
                raise ValueError(f"{site}: arrivals {steps} must ascend within 1..{len(values) - 1}")
        values.flags.writeable = False
        object.__setattr__(self, "values", values)

    @classmethod
    def from_rows(cls, scores: pd.DataFrame, metric: str, arrivals: Mapping[str, tuple[int, ...]]) -> Self:
        """Average a table of scores over the structures of a case, then over the cases of a site.

        `scores` has the columns step, site, case, structure and `metric`; `arrivals` names every site, in the
        order that the matrix takes. T is the last step scored: a site that arrives later counts as unseen.
        A NaN says that a structure cannot be scored in a case, and is left out of its mean; so a failed
        segmentation must come with a finite penalty. Raises ValueError for an unknown metric or site and for
        a score given twice.
        """
        by_key = {known.key: known for known in METRICS}
        if metric not in by_key:
            raise ValueError(f"metric {metric!r} is none of {', '.join(by_key)}")
        strange = sorted(set(scores["site"]) - set(arrivals))
        if strange:
            raise ValueError(f"scores of sites that arrivals does not name: {', '.join(strange)}")
        if scores.duplicated(["step", "site", "case", "structure"]).any():
            raise ValueError("scores hold a (step, site, case, structure) twice")
        last = 0 if scores.empty else int(scores["step"].max())
        cases = scores.groupby(["step", "site", "case"], observed=True)[metric].mean()
        table = cases.groupby(["step", "site"], observed=True).mean().unstack("site")
        table = table.reindex(index=range(last + 1), columns=list(arrivals))
        return cls(
            values=table.to_numpy(dtype=np.float64, na_value=NAN),
            sites=tuple(arrivals),
            arrivals={site: tuple(step for step in steps if step <= last) for site, steps in arrivals.items()},
            higher_is_better=by_key[metric].higher_is_better,
        )

    @property
    def steps(self) -> int:
        """T, the number of steps scored."""
        return len(self.values) - 1

    @property
    def seen_sites(self) -> tuple[str, ...]:
        """The sites whose data have arrived, in column order."""
        return tuple(site for site in self.sites if self.arrivals[site])

    @property
    def unseen_sites(self) -> tuple[str, ...]:
        """The sites whose data have not arrived, in column order."""
        return tuple(site for site in self.sites if not self.arrivals[site])

    @property
    def past_sites(self) -> tuple[str, ...]:
        """The sites that could be forgotten, those with l_j < T, in column order."""
        return tuple(site for site in self.seen_sites if self.arrivals[site][-1] < self.steps)

    def score(self, step: int, site: str) -> float:
        """R[step, site], in the metric's own unit."""
        return float(self.values[step, self.sites.index(site)])

    def learnt(self, site: str) -> float:
        """R[l_j, j]: the score of a seen site when it had just been learnt."""
        return self.score(self.arrivals[site][-1], site)

    def best_past(self, site: str) -> float:
        """The best of R[l, j] over f_j <= l < T, of a site with f_j < T."""
        column = self.values[self.arrivals[site][0] : self.steps, self.sites.index(site)]
        return float(column.max() if self.higher_is_better else column.min())

    @property
    def accuracy(self) -> float:
        """ACC = mean over seen sites of R[T, j]."""
        return _mean(self.score(self.steps, site) for site in self.seen_sites)

    @property
    def unseen(self) -> float:
        """Mean over unseen sites of R[T, j]."""
        return _mean(self.score(self.steps, site) for site in self.unseen_sites)

    @property
    def plasticity(self) -> float:
        """Mean over seen sites of R[l_j, j]."""
        return _mean(self.learnt(site) for site in self.seen_sites)

    @property
    def backward_transfer(self) -> float:
        """BWT = mean over sites with l_j < T of s (R[T, j] - R[l_j, j])."""
        return _mean(self._gain(self.learnt(site), self.score(self.steps, site)) for site in self.past_sites)

    @property
    def forward_transfer(self) -> float:
        """FWT = mean over sites with f_j >= 2 of s (R[f_j - 1, j] - b_j)."""
        later = [site for site in self.seen_sites if self.arrivals[site][0] >= 2]
        return _mean(self._gain(self.score(0, site), self.score(self.arrivals[site][0] - 1, site)) for site in later)

    @property
    def forgetting(self) -> float:
        """Mean over sites with l_j < T of (max over f_j <= l < T of s R[l, j]) - s R[T, j]."""
        return _mean(self._gain(self.score(self.steps, site), self.best_past(site)) for site in self.past_sites)

    def intransigence(self, joint: ScoreMatrix) -> float:
        """Mean over seen sites of s (R_joint[T, j] - R[l_j, j]): what learning in sequence costs a new site.

        R_joint[T, j] is the final score of a run that trained on all sites together, in however many steps.
        (Chaudhry et al., ECCV 2018, take for each site a joint run that stops there.) Raises ValueError where
        the joint run lacks a seen site or counts the other way round.
        """
        missing = sorted(set(self.seen_sites) - set(joint.sites))
        if missing:
            raise ValueError(f"the joint run has no score of {', '.join(missing)}")
        if joint.higher_is_better != self.higher_is_better:
            raise ValueError("the joint run's matrix holds another kind of metric")
        return _mean(self._gain(self.learnt(site), joint.score(joint.steps, site)) for site in self.seen_sites)

    def summary(self) -> dict[str, float]:
        """Return the six scores by name, in the metric's unit."""
        return {
            "accuracy": self.accuracy,
            "unseen": self.unseen,
            "plasticity": self.plasticity,
            "backward_transfer": self.backward_transfer,
            "forgetting": self.forgetting,
            "forward_transfer": self.forward_transfer,
        }

    def _gain(self, before: float, after: float) -> float:
        return after - before if self.higher_is_better else before - after


def _mean(numbers: Iterable[Any]) -> float:
    found = list(numbers)
    return float(np.mean(found)) if found else NAN
