"""Says what a run found: numbers as readers write them, the verdict, and a sentence for each figure."""

from __future__ import annotations

import math
from collections.abc import Collection

from simulator.metrics import Metric, ScoreMatrix
from simulator.report.view import RunView

NONE = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


def number(value: float, metric: Metric, *, signed: bool = False, unit: bool = False) -> str:
    """Write a score: .812 without a unit, 4.31 with one, a dash for NaN."""
    if math.isnan(value):
        return NONE
    text = short(abs(value), digits=3) if metric.unit == "" else f"{abs(value):.2f}"
    text = text.replace("inf", "∞")
    zero = set(text) <= set("0.")
    sign = "" if zero else MINUS if value < 0 else "+" if signed else ""
    return f"{sign}{text} {metric.unit}".rstrip() if unit else sign + text


def short(value: float, digits: int) -> str:
    """Write a number from 0 up without its leading zero: .81, 1.04, a dash for NaN."""
    if math.isnan(value):
        return NONE
    text = f"{value:.{digits}f}"
    return text[1:] if text.startswith("0.") else text


def size(count: float) -> str:
    """Write a number of bytes with three digits: 912 B, 59.2 kB, 10.6 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def counted(count: int, noun: str, plural: str = "") -> str:
    """Write a count with its noun: 1 site, 4 sites."""
    return f"{count} {noun}" if count == 1 else f"{count} {plural or noun + 's'}"


def listed(names: Collection[str]) -> str:
    """Write names as a list in a sentence: A, B and C."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def verdict(matrix: ScoreMatrix, metric: Metric) -> str:
    """Say in a sentence or two how a run ended: on seen sites, against when they were learnt, on unseen sites."""
    if not matrix.seen_sites:
        return "No step has been scored."
    seen = counted(len(matrix.seen_sites), "site")
    text = f"After {counted(matrix.steps, 'step')} the network"
    if math.isnan(matrix.accuracy):
        text += f" has no {metric.title} on the {seen} it has seen, as a score is missing"
    else:
        text += f" scores {number(matrix.accuracy, metric, unit=True)} {metric.title} on the {seen} it has seen"
    if matrix.past_sites and math.isfinite(matrix.accuracy - matrix.plasticity):
        text += f", {_compared(matrix, metric)}"
    if matrix.unseen_sites:
        unseen = number(matrix.unseen, metric, unit=True)
        text += f"; on {counted(len(matrix.unseen_sites), 'unseen site')} {unseen}"
    return text + "."


def _compared(matrix: ScoreMatrix, metric: Metric) -> str:
    change = matrix.accuracy - matrix.plasticity
    gap = number(abs(change), metric, unit=True)
    whom = "it" if len(matrix.seen_sites) == 1 else "each"
    if number(change, metric) == number(0.0, metric):
        return f"as much as when {whom} had just been learnt"
    return f"{gap} {'more' if change > 0 else 'less'} than when {whom} had just been learnt"


def heat_finding(matrix: ScoreMatrix, metric: Metric) -> str:
    """Say what the score matrix shows: its best and worst final site, and the site that lost most."""
    final = {site: matrix.score(matrix.steps, site) for site in matrix.sites}
    scored = sorted((site for site in final if not math.isnan(final[site])), key=lambda site: final[site])
    if not scored:
        return f"{metric.title} by step and site: no score."
    worst, best = (scored[0], scored[-1]) if metric.higher_is_better else (scored[-1], scored[0])
    text = (
        f"{metric.title} by step and site. After step {matrix.steps} the best is {best} "
        f"({number(final[best], metric, unit=True)}), the worst {worst} ({number(final[worst], metric, unit=True)})."
    )
    sign = 1 if metric.higher_is_better else -1
    lost = {site: sign * (matrix.learnt(site) - final[site]) for site in matrix.past_sites}
    worse = {site: loss for site, loss in lost.items() if loss > 0}
    if worse:
        most = max(worse, key=lambda site: worse[site])
        text += f" Since it was learnt, {most} got worse the most, by {number(worse[most], metric, unit=True)}."
    elif lost:
        text += " No site got worse since it was learnt."
    return text


def curve_finding(matrix: ScoreMatrix, metric: Metric) -> str:
    """Say how the means over seen and unseen sites went from the first step to the last."""
    seen, unseen = seen_mean(matrix), unseen_mean(matrix)
    text = f"{metric.title} over the steps. The mean over the sites seen so far {_went(seen, metric)}"
    return f"{text}, over the unseen sites {_went(unseen, metric)}." if matrix.unseen_sites else text + "."


def seen_mean(matrix: ScoreMatrix) -> list[float]:
    """The mean over the sites seen so far, after each step 1..T."""
    rows = []
    for step in range(1, matrix.steps + 1):
        seen = [matrix.score(step, site) for site in matrix.seen_sites if matrix.arrivals[site][0] <= step]
        rows.append(sum(seen) / len(seen) if seen else math.nan)
    return rows


def unseen_mean(matrix: ScoreMatrix) -> list[float]:
    """The mean over the sites that are never seen, after each step 1..T."""
    sites = matrix.unseen_sites
    steps = range(1, matrix.steps + 1)
    return [sum(matrix.score(step, site) for site in sites) / len(sites) if sites else math.nan for step in steps]


def _went(means: list[float], metric: Metric) -> str:
    if not means:
        return "has no score"
    first, last = number(means[0], metric), number(means[-1], metric, unit=True)
    return f"is {last}" if len(means) == 1 else f"goes from {first} to {last}"


def timeline_finding(view: RunView) -> str:
    """Say which site arrives at which step, and which never do."""
    parts = [f"step {step.step}: {listed(step.arriving)}" for step in view.steps if step.arriving]
    text = f"Arrivals by step. {'; '.join(parts) or 'None'}."
    return f"{text} Only tested on, never trained on: {listed(view.unseen)}." if view.unseen else text


def release_finding(view: RunView) -> str:
    """Say how much left the sites, as what kinds, and whether an image or a label was among it."""
    rows = view.releases
    if rows.empty:
        return "Nothing left any site."
    learn, score = rows[rows["purpose"] == "learn"], rows[rows["purpose"] != "learn"]
    parts = []
    if not learn.empty:
        kinds = listed(sorted({str(kind).lower() for kind in learn["kind"]}))
        sites = counted(learn["site"].nunique(), "site")
        parts.append(f"{sites} released {size(float(learn['bytes'].sum()))} for learning, as {kinds}")
    if not score.empty:
        sites = counted(score["site"].nunique(), "site")
        parts.append(f"{sites} released {size(float(score['bytes'].sum()))} of scores")
    bare = exposed(view)
    warning = f"Patients' data were among it: {listed(bare)}." if bare else "No image and no label left any site."
    return f"{'; '.join(parts)}. {warning}"


def exposed(view: RunView) -> list[str]:
    """The kinds released that hold patients' data as they are."""
    return sorted({"image", "label"} & {str(kind).lower() for kind in view.releases["kind"]})
