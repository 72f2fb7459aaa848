"""What an attack found, as numbers and as a sentence: the model of `exposure.json`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Attack = Literal[
    "denoising loss",
    "SecMI",
    "segmentation loss",
    "copy test",
    "extraction",
    "site of replays",
    "gradient inversion",
    "amplitude match",
    "amplitude reconstruction",
]
Target = Literal[
    "released",
    "next site's release",
    "over-trained control",
    "untrained control",
    "real images control",
    "one patient control",
    "whole spectrum control",
    "other patient control",
    "own amplitudes control",
    "other amplitudes control",
]
Measure = Literal["AUC", "share of patients", "share of images", "correlation"]


class Finding(BaseModel):
    """What one attack reached on one target.

    site: whose patients are attacked; "all" where one control serves all sites
    released: whether the site itself released what was attacked (else the server made it of the releases, the next
        site, which may have begun with this one's weights, released it, or it is a control)
    value, low, high: what the attack reached, with its 95 % interval, in 0..1 (a correlation in -1..1)
    chance: what it would reach if nothing were exposed
    patients, others: how many patients were trained on, and how many of the same site were not
    tpr_at_1_fpr: share of the patients found where 1 % of the others are taken for one; None where there are too
        few others to resolve 1 %
    sentence: the same for a clinician
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attack: Attack
    target: Target
    site: str
    released: bool
    measure: Measure
    value: float
    low: float
    high: float
    chance: float
    patients: int
    others: int
    tpr_at_1_fpr: float | None = None
    sentence: str

    @property
    def exposes(self) -> bool:
        """Whether the attack does better than chance: the whole interval lies above it."""
        return self.low > self.chance


class Exposure(BaseModel):
    """All that was measured of a run: `exposure.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schedule: str
    strategy: str
    seed: int
    replays: int
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
