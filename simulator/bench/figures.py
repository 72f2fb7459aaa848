"""Chooses the figures of a schedule."""

from __future__ import annotations

from collections.abc import Mapping

from simulator.bench import courses, tradeoffs
from simulator.bench.cosines import cosines
from simulator.bench.exposed import exposures
from simulator.bench.gaps import gaps
from simulator.bench.looks import Plate
from simulator.bench.ranking import rank_plate
from simulator.bench.ranks import rank
from simulator.bench.results import Results
from simulator.bench.scores import SEEN, UNSEEN
from simulator.bench.statistics import Family


def plates(results: Results, schedule: str, families: Mapping[str, Family]) -> tuple[Plate, ...]:
    """Return the figures that a schedule's trials allow, in the order of the report; `families` by score's key."""
    found = (
        gaps(results, families),
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
