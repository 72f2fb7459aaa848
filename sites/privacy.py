"""Training with differential privacy at a site: what its policy asks for, who is drawn, and what it has cost so far.

DP-SGD (Abadi et al., "Deep Learning with Differential Privacy", CCS 2016), by patient: a draw takes one slice of each
patient it hits, so that adding or leaving out a patient changes one term, however many slices that patient has. The
cost is composed by Opacus's Rényi accountant (Mironov, CSF 2017; Mironov et al., 2019, for the sampled mechanism).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from sites.secret import Draws, Secret
from sites.stream import Case

# Beyond Opacus's own, for a very small cost and a very large one.
ORDERS = (*(1 + x / 100 for x in range(1, 10)), *(1 + x / 10 for x in range(1, 110)), *range(12, 64), 128, 256, 512)


class DpSgd(BaseModel):
    """How a site has its patients protected in training.

    noise_multiplier: standard deviation of the noise on a sum of gradients, in units of `max_grad_norm`
    max_grad_norm: L2 norm to which the gradient of each patient is clipped
    delta: the chance that the promise of epsilon does not hold; well below one in the number of patients
    most_epsilon: nothing more is released once the cost goes beyond it (None: no bound)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    noise_multiplier: float = Field(gt=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    delta: float = Field(gt=0, lt=1)
    most_epsilon: float | None = Field(default=None, gt=0)


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What training cost: iterations that each drew every patient with a chance of `sample_rate`."""

    noise_multiplier: float
    sample_rate: float
    steps: int


def epsilon_of(spent: Iterable[Spent], delta: float) -> float:
    """Return the epsilon that training cost in all at a delta: 0 for none, infinite where it was without noise.

    Every part is taken to have met the same patients. Two data sets are neighbours where one has a patient more.
    """
    parts = [part for part in spent if part.steps]
    if not parts:
        return 0.0
    if not all(part.noise_multiplier for part in parts):
        return inf
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    accountant.history = [(part.noise_multiplier, part.sample_rate, part.steps) for part in parts]
    with warnings.catch_warnings():
        # The best order may be the first or the last one: the bound holds, though a tighter one may be had.
        warnings.filterwarnings("ignore", "Optimal order is the", UserWarning)
        return float(accountant.get_epsilon(delta, alphas=list(ORDERS)))


class PrivateTraining:
    """What a site asks of the training on one arrival, and what that training spent.

    The chance of being drawn is part of the protection, so who was drawn must be as hard to guess as the noise: both
    come from a secret.
    """

    def __init__(self, policy: DpSgd, cases: Iterable[Case], secret: Secret) -> None:
        self.policy = policy
        self.spent: list[Spent] = []
        self._secret = secret
        slices: dict[str, list[int]] = {}
        number = 0
        for case in cases:
            slices.setdefault(case.patient, []).extend(range(number, number + len(case.images)))
            number += len(case.images)
        self._slices = tuple(slices.values())

    @property
    def patients(self) -> int:
        return len(self._slices)

    def begin(self, expected: float, steps: int) -> Session:
        """Take account of `steps` iterations that draw `expected` patients on average, or all where there are fewer."""
        rate = min(1.0, expected / self.patients)
        self.spent.append(Spent(noise_multiplier=self.policy.noise_multiplier, sample_rate=rate, steps=steps))
        return Session(self.policy, self._slices, rate, steps, self._secret.draws("training", len(self.spent)))


class Session:
    """The patients and the noise of one run of iterations, by what its account says."""

    def __init__(self, policy: DpSgd, slices: Sequence[Sequence[int]], rate: float, steps: int, draws: Draws) -> None:
        self.policy = policy
        self.expected = rate * len(slices)
        self._slices = slices
        self._rate = rate
        self._steps = steps
        self._draws = draws

    def rows(self) -> Iterator[Tensor]:
        """Yield the slices of each iteration, int64 [patients drawn]: each patient is drawn by itself, or not.

        The rows are those of all slices of the cases, one case after another.
        """
        for _ in range(self._steps):
            hit = self._draws.uniform(len(self._slices)) < self._rate
            place = self._draws.uniform(len(self._slices))
            drawn = [int(own[int(share * len(own))]) for own, share in zip(self._slices, place, strict=True)]
            yield torch.tensor(drawn)[torch.from_numpy(hit)]

    def noise(self, shape: torch.Size) -> Tensor:
        """Return the noise on a sum of clipped gradients, float32 of a shape."""
        deviation = self.policy.noise_multiplier * self.policy.max_grad_norm
        return (deviation * self._draws.normal(shape)).float()
