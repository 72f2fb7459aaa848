"""Writes the report of a run: one HTML file that needs nothing else, not even a network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from markupsafe import Markup

from simulator.metrics import METRICS, Metric, ScoreMatrix
from simulator.report import figures, pictures, words
from simulator.report.ink import KINDS
from simulator.report.template import fill
from simulator.report.terms import TERMS, Term
from simulator.report.view import RunView
from sites.files import write_whole


@dataclass(frozen=True)
class Row:
    """A row of a table: its heading, a note under it, and its cells."""

    head: str
    cells: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class Panel:
    """All about one metric: its figures (curves from two steps on), and the matrix as a table."""

    metric: Metric
    heat: Markup
    curves: Markup
    matrix: ScoreMatrix
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Shot:
    """One sample picture: data URI, what it shows for those who don't see it, and its caption."""

    source: str
    alt: str
    caption: str


def write_page(view: RunView, path: Path) -> None:
    """Write the report of a run to `path`, whole or not at all."""
    write_whole(path, render(view))


def render(view: RunView) -> str:
    """Return the report of a run as HTML."""
    panels = [_panel(view.matrix(metric.key), metric) for metric in METRICS]
    released = not view.releases.empty
    return fill(
        "page.html",
        view=view,
        verdict=words.verdict(panels[0].matrix, METRICS[0]),
        terms=TERMS,
        panels=panels,
        scores=[_score_row(term, panels) for term in TERMS],
        final=_final_rows(view),
        timeline=figures.timeline(view),
        samples=_sample_rows(view),
        legend=list(zip(view.structures, pictures.STRUCTURE_COLOURS * len(view.structures), strict=False)),
        finding=words.release_finding(view),
        exposed=words.exposed(view),
        releases=figures.releases(view) if released else "",
        fields=_field_rows(view) if released else [],
        kinds=_kinds(view),
        released=_released_rows(view) if released else [],
        steps_done=view.last_step,
        counted=words.counted,
        listed=words.listed,
    )


def _panel(matrix: ScoreMatrix, metric: Metric) -> Panel:
    rows = [
        Row(
            "untrained" if step == 0 else f"step {step}",
            tuple(words.number(matrix.score(step, site), metric) for site in matrix.sites),
        )
        for step in range(matrix.steps + 1)
    ]
    curves = figures.curves(matrix, metric) if matrix.steps > 1 else Markup("")
    return Panel(metric, figures.heat_map(matrix, metric), curves, matrix, tuple(rows))


def _score_row(term: Term, panels: list[Panel]) -> Row:
    cells = [words.number(panel.matrix.summary()[term.key], panel.metric, signed=term.transfer) for panel in panels]
    return Row(term.short, tuple(cells), term.meaning)


def _final_rows(view: RunView) -> list[tuple[str, str, list[Row]]]:
    """Mean and standard deviation over cases at the end, by site and structure."""
    final = view.scores[view.scores["step"] == view.last_step]
    return [
        (site, _note(view, site), [_final_row(final[final["site"] == site], name) for name in view.structures])
        for site in view.sites
    ]


def _final_row(scores: pd.DataFrame, structure: str) -> Row:
    chosen = scores[scores["structure"] == structure]
    cells = [str(chosen["case"].nunique())]
    for metric in METRICS:
        # Distances may be infinite; their mean says so, a deviation of them says nothing.
        finite = bool(np.isfinite(chosen[metric.key]).all())
        spread = words.number(float(chosen[metric.key].std()), metric) if finite else words.NONE
        mean = words.number(float(chosen[metric.key].mean()), metric)
        cells.append(mean if spread == words.NONE else f"{mean} ± {spread}")
    return Row(structure, tuple(cells))


def _note(view: RunView, site: str | None) -> str:
    return "unseen" if site in view.unseen else ""


def _sample_rows(view: RunView) -> list[tuple[str, str, list[Shot | None]]]:
    rows = []
    for sample in view.samples:
        shots: list[Shot | None] = [Shot(pictures.picture(sample.image), f"{sample.site}: a held-out slice", "")]
        for step in pictures.shown_steps(sample, view.arrivals.get(sample.site, ()), view.last_step):
            if step is None:
                shots.append(None)
                continue
            prediction = sample.predictions[step]
            dice = words.number(pictures.overlap(sample.reference, prediction), METRICS[0])
            shots.append(
                Shot(
                    pictures.picture(sample.image, sample.reference, prediction),
                    f"{sample.site} after step {step}: prediction and reference overlap with Dice {dice}",
                    f"step {step} · {dice}",
                )
            )
        rows.append((sample.site, _note(view, sample.site), shots))
    return rows


def _kinds(view: RunView) -> list[str]:
    found = {str(kind).lower() for kind in view.releases["kind"]}
    return [*(kind for kind in KINDS if kind in found), *sorted(found - set(KINDS))]


def _released_rows(view: RunView) -> list[Row]:
    """Bytes by site and kind, and in all."""
    kind_of = view.releases["kind"].astype(str).str.lower()
    rows = []
    for site in (*view.sites, None):
        mine = (view.releases["site"] == site) if site else view.releases["site"].notna()
        sums = [int(view.releases.loc[mine & (kind_of == kind), "bytes"].sum()) for kind in _kinds(view)]
        cells = tuple(words.size(count) if count else words.NONE for count in (*sums, sum(sums)))
        rows.append(Row(site or "all sites", cells, _note(view, site)))
    return rows


def _field_rows(view: RunView) -> list[Row]:
    """What each field was: its kind and purpose, how often and from how many sites it left, how many bytes."""
    rows = []
    for (purpose, field, kind), group in view.releases.groupby(["purpose", "field", "kind"], sort=True, observed=True):
        cells = (
            str(kind).lower(),
            str(purpose),
            str(group["site"].nunique()),
            str(len(group)),
            words.size(float(group["bytes"].sum())),
        )
        rows.append(Row(str(field), cells))
    return rows
