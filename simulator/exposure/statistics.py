"""How well an attack tells patients apart, with intervals that take the patient as the unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import binomtest
from torch import Tensor
from torch.nn.functional import normalize

RESAMPLES = 2000
FALSE_POSITIVES = 0.01


class Interval(NamedTuple):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Suspects:
    """An attack's score of each patient, higher where it takes the patient for one that was trained on."""

    patients: Tensor
    others: Tensor


def by_patient(values: Tensor, patients: Sequence[str]) -> Tensor:
    """Return the mean of values [N] over each patient's images, in the order of first appearance."""
    names = list(dict.fromkeys(patients))
    rows = torch.tensor([names.index(patient) for patient in patients])
    return torch.zeros(len(names)).index_add(0, rows, values.float()) / torch.bincount(rows, minlength=len(names))


def auc(suspects: Suspects, seed: int) -> Interval:
    """Return the area under the ROC curve with its percentile bootstrap interval.

    Patients who were trained on and others are drawn anew, each among their own. Where the attack never errs the
    interval is the point 1: it holds for these patients, not for the next ones.
    """
    patients, others = suspects.patients.numpy()[:, None], suspects.others.numpy()[None]
    wins = (patients > others) + 0.5 * (patients == others)
    draws = np.random.default_rng(seed)
    rows = draws.integers(len(wins), size=(RESAMPLES, len(wins)))
    columns = draws.integers(wins.shape[1], size=(RESAMPLES, wins.shape[1]))
    areas = [float(wins[row][:, column].mean()) for row, column in zip(rows, columns, strict=True)]
    low, high = np.quantile(areas, [0.025, 0.975])
    return Interval(float(wins.mean()), float(low), float(high))


def likeness(images: Tensor, others: Tensor) -> Tensor:
    """Return the correlation of each image [N, C, H, W] with each of others [M, C, H, W]: [N, M] in -1..1."""
    one, other = (part.flatten(1) - part.flatten(1).mean(1, keepdim=True) for part in (images, others))
    return normalize(one) @ normalize(other).T


def above(patients: Tensor, others: Tensor, seed: int) -> Interval:
    """Return the mean over patients with its percentile bootstrap interval, which holds others' uncertainty as well.

    Both are drawn anew, by patient, and the interval is that of the difference of their means, put on top of the mean
    of `others`: it lies above that where the difference is above zero.
    """
    draws = np.random.default_rng(seed)
    means = [
        values.numpy()[draws.integers(len(values), size=(RESAMPLES, len(values)))].mean(1)
        for values in (patients, others)
    ]
    low, high = np.quantile(means[0] - means[1], [0.025, 0.975])
    chance = float(others.mean())
    return Interval(float(patients.mean()), chance + float(low), chance + float(high))


def tpr_at_low_fpr(suspects: Suspects) -> float | None:
    """Return the share of patients found where 1 % of the others are taken for one; None under 100 others."""
    others = suspects.others.sort(descending=True).values
    allowed = int(FALSE_POSITIVES * len(others))
    return float((suspects.patients > others[allowed]).float().mean()) if allowed else None


def share(found: Tensor) -> Interval:
    """Return the share of those found, bool [N], with the exact interval of Clopper and Pearson (1934)."""
    test = binomtest(int(found.sum()), len(found))
    bounds = test.proportion_ci(method="exact")
    return Interval(float(test.statistic), float(bounds.low), float(bounds.high))
