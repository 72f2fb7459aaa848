"""What both ends know before any data are read: the network, the budget, and the form of the cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sites.stream import Shape

Augmentation = Literal["none", "standard"]


class NetworkConfig(BaseModel):
    """The segmentation network: MONAI's residual U-Net (Kerfoot et al., STACOM 2018).

    `widths` are the feature channels from the top level to the bottom; each level halves the resolution.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: tuple[int, ...] = Field(default=(16, 32, 64, 128), min_length=2, max_length=6)
    residual_units: int = Field(default=1, ge=0, le=4)
    norm: Literal["batch", "instance"] = "batch"
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)


class Budget(BaseModel):
    """How much a site may train on each arrival: iterations or epochs, shared out over the rounds of a step."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    iterations: int | None = Field(default=None, ge=1)
    epochs: float | None = Field(default=None, gt=0)
    rounds: int = Field(default=1, ge=1)
    batch: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        if (self.iterations is None) == (self.epochs is None):
            raise ValueError("give either iterations or epochs, not both")
        return self

    def iterations_an_arrival(self, slices: int) -> int:
        """Return the gradient steps that an arrival of `slices` training slices may cost, over all rounds."""
        if self.iterations is not None:
            return self.iterations
        return max(1, round((self.epochs or 0.0) * -(-slices // self.batch)))

    def iterations_a_round(self, slices: int) -> int:
        """Return the gradient steps of one round on an arrival of `slices` training slices (at least one)."""
        return self.a_round(self.iterations_an_arrival(slices))

    def a_round(self, steps: int) -> int:
        """Return one round's share of the gradient steps that an arrival may cost (at least one)."""
        return max(1, round(steps / self.rounds))


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a strategy's two sides agree on before any data are read.

    `seed` is the run's; `sites` are those that will arrive, in the order of their first arrival; `most_cases` is the
    most training cases that one arrival brings.
    """

    shape: Shape
    network: NetworkConfig
    budget: Budget
    augmentation: Augmentation
    seed: int
    sites: tuple[str, ...]
    most_cases: int
