"""What a site lets out, and how it defends that: the settings that a site owns."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sites.aggregation import SecureAggregation
from sites.privacy import DpSgd
from sites.wire import Kind, Manifest


class SitePolicy(BaseModel):
    """What a site lets out. The site owns it; a strategy can't write it.

    admit: the kinds that may leave
    byte_budget: the most bytes that may leave in a run (None: no bound)
    round_counts_to: counts leave rounded to a multiple of this (never to less than one multiple)
    most_copied: the largest share of the training images that replays made from a release may copy, by the copy test
        of `sites/copying.py` (None: replays are not looked at). As many replays as held-out images are made, so that
        images which only resemble each other come to 0.05 on average; 0.2 leaves room for chance
    clip: the largest L2 norm of what one release may change of the weights that came down (None: no bound)
    noise: standard deviation of the Gaussian noise on that change, in units of `clip`
    dp_sgd: how patients are protected in training (None: they are not). Strategies that don't keep to it are refused
    secure_aggregation: uploads leave masked, so that only the sum over a round's sites can be read (None: they don't).
        Needs the kind `key`; strategies that look at single uploads are refused
    simulated_secret: what the site's secret is made from in a simulation, so that the same run gives the same bits. A
        hospital must leave it out: its secret is then drawn from the operating system, and nobody can compute the
        noise or the masks
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    admit: tuple[Kind, ...]
    byte_budget: int | None = Field(default=None, ge=1)
    round_counts_to: int = Field(default=1, ge=1)
    most_copied: float | None = Field(default=None, ge=0, lt=1)
    clip: float | None = Field(default=None, gt=0)
    noise: float | None = Field(default=None, gt=0)
    dp_sgd: DpSgd | None = None
    secure_aggregation: SecureAggregation | None = None
    simulated_secret: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _noise_has_a_unit(self) -> Self:
        if self.noise is not None and self.clip is None:
            raise ValueError("noise: is a multiple of clip, which is not set; set clip, or leave noise out")
        return self

    @model_validator(mode="after")
    def _masks_need_keys(self) -> Self:
        if self.secure_aggregation is not None and Kind.KEY not in self.admit:
            raise ValueError(
                "secure_aggregation: sites agree on masks by public keys, which this policy does not let out; "
                "add key to admit, or leave secure_aggregation out"
            )
        return self

    @property
    def needs_secret(self) -> bool:
        """Whether the site draws random numbers that nobody else may compute."""
        return self.noise is not None or self.dp_sgd is not None or self.secure_aggregation is not None

    def refused_kinds(self, manifest: Manifest) -> tuple[Kind, ...]:
        """Return the kinds of a manifest that this policy does not admit, in the manifest's order."""
        return tuple(dict.fromkeys(leaf.kind for leaf in manifest if leaf.kind not in self.admit))
