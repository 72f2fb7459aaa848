"""Chooses the figures of a schedule, and writes them to files."""

from __future__ import annotations

from pathlib import Path

from simulator.bench import courses, tradeoffs
from simulator.bench.cosines import cosines
from simulator.bench.exposed import exposures
from simulator.bench.looks import Plate
from simulator.bench.ranking import rank_plate
from simulator.bench.ranks import rank
from simulator.bench.results import Results
from simulator.bench.scores import SEEN, UNSEEN
from simulator.report.ink import drawing, paper_file
from sites.files import write_whole


def plates(results: Results, schedule: str) -> tuple[Plate, ...]:
    """Return the figures that a schedule's trials allow, in the order of the report."""
    found = (
        tradeoffs.scatter(results, schedule),
        *(rank_plate(rank(results, schedule, score)) for score in (SEEN, UNSEEN)),
        courses.curves(results, schedule),
        courses.sites(results, schedule),
        courses.matrix_plate(results, schedule),
        tradeoffs.costs(results, schedule),
        exposures(results, schedule),
        cosines(results, schedule),
    )
    return tuple(plate for plate in found if plate)


def write_figures(chosen: tuple[Plate, ...], stem: str, folder: Path) -> list[Path]:
    """Write figures as <stem>-<name>.png and .svg; return the paths."""
    written = []
    with drawing(paper=True):
        for plate in chosen:
            figure = plate.draw()
            for form in ("png", "svg"):
                path = folder / f"{stem}-{plate.name}.{form}"
                write_whole(path, paper_file(figure, form))
                written.append(path)
    return written
