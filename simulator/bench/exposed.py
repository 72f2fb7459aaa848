"""What membership inference reached on the trials of a bench, read from their folders and drawn against Dice."""

from __future__ import annotations

from functools import partial
from math import isfinite

import pandas as pd
from pydantic import ValidationError

from simulator.bench.looks import Plate
from simulator.bench.results import EXPOSURE, Results
from simulator.bench.scores import SEEN
from simulator.bench.statistics import Estimate, estimate
from simulator.bench.store import BenchStore
from simulator.bench.tables import estimates_of
from simulator.bench.tradeoffs import draw_points
from simulator.exposure.findings import Exposure
from sites.errors import UserError

FILE = "exposure.json"


def exposure_of(store: BenchStore) -> pd.DataFrame:
    """Return what membership inference reached on what each trial released: a row for each attack and site."""
    rows = []
    for planned in store.planned:
        path = store.trial_root(planned.trial) / FILE
        if not path.exists():
            continue
        try:
            found = Exposure.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError as error:
            raise UserError(f"{path}: can't be read; delete it, and run `wardround exposure` again") from error
        rows += [
            {"trial": planned.trial, "site": one.site, "attack": one.attack, "auc": one.value}
            for one in found.findings
            if one.target == "released" and one.measure == "AUC"
        ]
    return pd.DataFrame(rows, columns=EXPOSURE)


def strongest(results: Results, schedule: str) -> dict[str, Estimate]:
    """Return the AUC of membership inference by strategy, over its trials that were attacked.

    Of a trial it is the mean over sites of whichever attack reached most: one attack for all sites, so that chance at a
    single site does not count as success.
    """
    means = results.exposure.groupby(["trial", "attack"], sort=False)["auc"].mean().groupby("trial", sort=False).max()
    rows = results.trials[results.trials["schedule"] == schedule]
    return {
        name: estimate(rows.loc[rows["strategy"] == name, "trial"].map(means).to_numpy(dtype=float))
        for name in results.strategies
    }


def exposures(results: Results, schedule: str) -> Plate | None:
    """Exposure against Dice on seen sites; None where no trial was attacked."""
    auc, dice = strongest(results, schedule), estimates_of(results, schedule, SEEN)
    points = {
        name: (auc[name], dice[name])
        for name in results.strategies
        if isfinite(auc[name].mean) and isfinite(dice[name].mean)
    }
    if not points:
        return None
    most, least = (pick(points, key=lambda name: points[name][0].mean) for pick in (max, min))
    finding = f"Who was trained on shows most with {most} (AUC {points[most][0].mean:.2f})"
    if most != least:
        finding += f" and least with {least} ({points[least][0].mean:.2f})"
    return Plate(
        name="exposure",
        title="Dice against exposure",
        caption="Top left is best. Exposure: area under the curve of the strongest membership inference, mean over "
        "sites; 0.5 is chance, 1 means that every patient who was trained on is told from those who were not. "
        "Bars: 95 % confidence interval of the mean, from three trials on.",
        finding=f"{finding}; 0.5 is chance.",
        draw=partial(
            draw_points,
            results,
            points,
            across="membership inference, AUC (lower is better)",
            up="Dice on seen sites (higher is better)",
            chance=0.5,
        ),
    )
