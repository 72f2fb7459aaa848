"""Writes the report of a bench: one HTML file that needs nothing else, not even a network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from simulator.bench import costs, summary, words
from simulator.bench.chapters import Chapter
from simulator.bench.results import Results
from simulator.bench.tables import MARK, Cell, Column, marked, trial_list
from simulator.report.template import fill
from simulator.report.words import NONE, counted
from sites.files import write_whole

_HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the table over all schedules."""

    schedule: str
    strategy: str
    kinds: str
    cells: tuple[Cell, ...]


def write_page(results: Results, chapters: Sequence[Chapter], path: Path, suite: str = "") -> None:
    """Write the report of a bench to `path`, whole or not at all; `suite` is its YAML, "" to leave it out."""
    write_whole(path, render(results, chapters, suite))


def render(results: Results, chapters: Sequence[Chapter], suite: str = "") -> str:
    """Return the report of a bench as HTML."""
    script = (_HERE / "bench.js").read_text(encoding="utf-8")
    columns = tuple(dict.fromkeys(column for chapter in chapters for column in chapter.main.columns[1:]))
    rows = [row for chapter in chapters for row in _rows(chapter, columns)]
    return fill(
        "bench.html",
        (_HERE / "bench.css",),
        _HERE,
        results=results,
        script=Markup(script),  # noqa: S704 a file of this package
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        opening=words.opening(results),
        headline=summary.headline(results, {chapter.schedule: chapter.families for chapter in chapters}),
        chapters=chapters,
        columns=columns,
        rows=rows,
        kinds=[kind for kind in words.SENSITIVITY if any(kind in row.kinds.split() for row in rows)],
        lost=summary.lost(results),
        exposed=summary.exposed(results),
        price=costs.price(results),
        costs=costs.cost_table(results),
        trials=trial_list(results),
        provenance=words.provenance(results),
        suite=suite,
        mark=MARK,
        marked=marked(results),
        counted=counted,
    )


def _rows(chapter: Chapter, columns: tuple[Column, ...]) -> list[Row]:
    """The rows of a schedule's main table, with a dash where only another schedule has the column."""
    own = chapter.main.columns[1:]
    found = []
    for strategy, cells in chapter.main.rows:
        by_column = dict(zip(own, cells, strict=True))
        kinds = next(cell.text for column, cell in by_column.items() if column.title == "Kinds released")
        chosen = tuple(by_column.get(column, Cell(NONE)) for column in columns)
        found.append(Row(schedule=chapter.schedule, strategy=strategy, kinds=kinds.replace(",", ""), cells=chosen))
    return found
