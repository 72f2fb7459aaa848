"""Who is attacked: a site's patients who were trained on, and others of the same site who were not."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.schedule import Schedule
from sites.errors import SourceError
from sites.stream import Case


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A site's cases, split by patient: trained on, and not. Within one site, for else the scanner tells them apart."""

    site: str
    patients: tuple[Case, ...]
    others: tuple[Case, ...]


def subject_of(schedule: Schedule, site: str) -> Subject:
    """Return a site's patients and about as many others: held-out cases, then such as the schedule never uses."""
    visits, source = schedule.timeline.visits[site], schedule.source
    patients = [case for visit in visits for case in source.train(site, visit.first, visit.count)]
    others = list(source.held_out(site, len(patients)))
    unused = sum(visit.count for visit in visits)
    while len(others) < len(patients):
        try:
            others.extend(source.train(site, unused, 1))
        except SourceError:
            break
        unused += 1
    known = {case.patient for case in patients}
    return Subject(
        site=site, patients=tuple(patients), others=tuple(case for case in others if case.patient not in known)
    )
