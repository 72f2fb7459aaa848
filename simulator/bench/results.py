"""All that a bench measured, as tables that statistics, figures and the report read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

EXPOSURE = ("trial", "site", "attack", "auc")


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """All that a bench measured, apart from how it is stored.

    suite: the suite's name; description: free text from its YAML, may be ""
    reference: label of the strategy that bounds the others (such as joint training), or None
    control: label of the strategy that each other one is compared with; None where every pair is compared
    strategies, schedules: labels and names in the suite's order
    trials: one row a trial, in the suite's order, the same bits whenever a bench is rerun or resumed. Columns:
        trial (hex identity), schedule, strategy (label), order (such as "A-B-C-D"), seed (int),
        status ("done", "failed" or "missing"), reason ("" where done; else one line);
        for each metric of dice (0..1), hd95 (mm) and asd (mm): <metric>_accuracy, _unseen, _plasticity,
        _backward_transfer, _forgetting, _forward_transfer (float, NaN where undefined);
        dice_intransigence (NaN without a reference, or where its trial is missing);
        bytes_up (all that sites released while learning), bytes_first (of which in the first turn),
        kinds_up (kinds released while learning, sorted, joined by "+");
        sited (whether it segments a site with weights or statistics of that site's own), commit (of the code it ran on)
    matrix: trial, step (0 = untrained), site, arrived (step of the site's first arrival, 0 for an unseen one),
        dice, hd95, asd (means over cases)
    diagnostics: trial, step, site, name (such as "cosine_orientational"), index (iteration or position), value;
        may be empty
    times: trial, step, purpose ("learn" or "score"), cpu_seconds, wall_seconds: never the same bits twice, hence a
        table of its own; of a trial whose steps were not told apart one row, without step and purpose
    exposure: trial, site, attack, auc: what membership inference reached on what a site released; empty unless
        `wardround exposure` was run on the bench
    machine: cores, processor, platform, python, torch, commit, date
    """

    suite: str
    description: str
    reference: str | None
    strategies: tuple[str, ...]
    schedules: tuple[str, ...]
    trials: pd.DataFrame
    matrix: pd.DataFrame
    diagnostics: pd.DataFrame
    times: pd.DataFrame
    machine: Mapping[str, str]
    exposure: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=EXPOSURE))
    control: str | None = None

    @property
    def costs(self) -> pd.DataFrame:
        """What each trial took in all: trial, cpu_seconds, wall_seconds."""
        return self.times.groupby("trial", sort=False)[["cpu_seconds", "wall_seconds"]].sum().reset_index()

    def compared_with(self, strategy: str) -> tuple[str, ...]:
        """Labels of the strategies that one is compared with: all others, or where there is a control that alone."""
        others = tuple(label for label in self.strategies if label != strategy)
        return others if self.control in (None, strategy) else (str(self.control),)

    @property
    def sited(self) -> tuple[str, ...]:
        """Labels of the strategies that segment a site with weights or statistics of its own."""
        named = set(self.trials.loc[self.trials["sited"], "strategy"])
        return tuple(label for label in self.strategies if label in named)
