"""Works out what the report says of each schedule: sentences, tables, and figures that are drawn once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.figure import Figure

from simulator.bench import summary, words
from simulator.bench.figures import plates
from simulator.bench.looks import Plate
from simulator.bench.results import Results
from simulator.bench.scores import Score
from simulator.bench.statistics import Family, compare
from simulator.bench.tables import Table, comparison_table, main_table, other_scores, shown
from simulator.report.ink import drawing, inline_svg


@dataclass(frozen=True)
class Picture:
    """A figure, and the same as the page shows it."""

    plate: Plate
    figure: Figure
    svg: Markup


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """A family of pairs: its score, a sentence for each pair, and the numbers as a table."""

    score: Score
    sentences: tuple[str, ...]
    table: Table


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """All about one schedule."""

    number: int
    schedule: str
    findings: tuple[str, ...]
    families: Mapping[str, Family]
    pairs: tuple[Pairs, ...]
    main: Table
    others: Table
    pictures: tuple[Picture, ...]


def chapters_of(results: Results) -> tuple[Chapter, ...]:
    """Return a chapter for each schedule, in the suite's order."""
    return tuple(_chapter(results, schedule, number) for number, schedule in enumerate(results.schedules, start=1))


def _chapter(results: Results, schedule: str, number: int) -> Chapter:
    families = {score.key: compare(results, schedule, score) for score in shown(results, schedule)}
    with drawing():
        pictures = [_picture(plate, number) for plate in plates(results, schedule, families)]
    return Chapter(
        number=number,
        schedule=schedule,
        findings=summary.findings(results, schedule, families),
        families=families,
        pairs=tuple(_pairs(family) for family in families.values() if family.comparisons),
        main=main_table(results, schedule, families),
        others=other_scores(results, schedule),
        pictures=tuple(pictures),
    )


def _picture(plate: Plate, number: int) -> Picture:
    figure = plate.draw()
    svg = inline_svg(figure, f"s{number}-{plate.name}", plate.finding)
    figure.set_layout_engine("none")  # it stands; each further file would lay the figure out again
    return Picture(plate, figure, svg)


def _pairs(family: Family) -> Pairs:
    found = family.comparisons
    sentences = tuple(words.pair(one, family.score, len(found)) for one in found)
    return Pairs(score=family.score, sentences=sentences, table=comparison_table(family))
