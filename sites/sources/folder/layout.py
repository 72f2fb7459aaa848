"""Find the cases of a data folder by their file names and cases.csv, and split them by patient; no pixel is read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sites.sources.folder.faults import Fault
from sites.sources.folder.reading import ENDINGS, ending, stem
from sites.sources.folder.table import Row, read_table

UNDATED = datetime.max.replace(tzinfo=UTC)  # cases without a date come last


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A case on disk: its two files, whose it is, when it was acquired, and on which side of the split it lies."""

    site: str
    case: str
    image: Path
    mask: Path
    patient: str
    acquired: datetime
    held_out: bool


@dataclass(frozen=True)
class Survey:
    """What a root holds: entries in the order in which they arrive, and all that is wrong with names and table."""

    entries: tuple[Entry, ...]
    faults: list[Fault]


@dataclass
class _Files:
    images: dict[str, Path] = field(default_factory=dict)
    masks: dict[str, Path] = field(default_factory=dict)

    @property
    def cases(self) -> set[str]:
        return set(self.images) | set(self.masks)


def survey(root: Path, held_out: float) -> Survey:
    """Look through a root; where it can't be read at all, the survey has no entries and a fault."""
    faults: list[Fault] = []
    if not root.is_dir():
        return Survey((), [Fault(root, "missing-root", "is not a folder; set root to the folder that holds the sites")])
    sites = {path.name: _files(path, faults) for path in _visible(root, faults) if path.is_dir()}
    if not sites:
        faults.append(Fault(root, "missing-root", "holds no site; lay it out as ROOT/<site>/{images,masks}/<case>.png"))
    rows = _rows(root / "cases.csv", sites, faults)
    entries: list[Entry] = []
    for site, files in sites.items():
        usable = [row for row in rows if row.site == site and row.case in files.images and row.case in files.masks]
        aside = _held_out(root / "cases.csv", site, usable, held_out, faults)
        entries += [
            Entry(
                site=site,
                case=row.case,
                image=files.images[row.case],
                mask=files.masks[row.case],
                patient=row.patient,
                acquired=row.acquired or UNDATED,
                held_out=row.patient in aside,
            )
            for row in usable
        ]
    return Survey(tuple(sorted(entries, key=lambda entry: (entry.site, entry.acquired, entry.case))), faults)


def _visible(folder: Path, faults: list[Fault]) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        faults.append(Fault(folder, "unreadable", f"cannot be listed: {error.strerror}"))
        return []


def _files(site: Path, faults: list[Fault]) -> _Files:
    files = _Files()
    for name, found in (("images", files.images), ("masks", files.masks)):
        for path in _visible(site / name, faults) if (site / name).is_dir() else ():
            if ending(path) is None:
                faults.append(Fault(path, "unknown-format", f"is left out; the formats are {', '.join(ENDINGS)}"))
            elif (case := stem(path)) in found:
                faults.append(
                    Fault(path, "two-files", f"is a second file for {case}, beside {found[case].name}; keep one")
                )
            else:
                found[case] = path
    for case in sorted(files.cases):
        if case not in files.masks:
            faults.append(
                Fault(files.images[case], "missing-partner", f"has no mask; add masks/{case}.*, or remove it")
            )
        if case not in files.images:
            faults.append(
                Fault(files.masks[case], "missing-partner", f"has no image; add images/{case}.*, or remove it")
            )
    if not files.cases:
        faults.append(Fault(site, "empty-site", "holds no case; put files into its images and masks, or remove it"))
    return files


def _rows(table: Path, sites: Mapping[str, _Files], faults: list[Fault]) -> list[Row]:
    """Return what cases.csv says of the cases on disk; without it, every case is a patient of its own."""
    if not table.exists():
        return [Row(0, site, case, patient=case) for site, files in sites.items() for case in files.cases]
    rows, wrong = read_table(table)
    faults += wrong
    for row in rows:
        if row.site not in sites or row.case not in sites[row.site].cases:
            sentence = f"line {row.line}: there are no files for {row.site}/{row.case}; add them, or remove the line"
            faults.append(Fault(table, "missing-case", sentence))
    named = {(row.site, row.case) for row in rows}
    for site, files in sites.items() if rows else ():
        for case in sorted(files.cases):
            if (site, case) not in named:
                path = files.images.get(case) or files.masks[case]
                faults.append(Fault(path, "unlisted-case", "is left out, for cases.csv does not name it; add a line"))
    return rows


def _held_out(table: Path, site: str, rows: Iterable[Row], share: float, faults: list[Fault]) -> frozenset[str]:
    """Return the held-out patients of a site: as cases.csv says, and by their names' hash where it says nothing."""
    said: dict[str, set[str | None]] = {}
    for row in rows:
        said.setdefault(row.patient, set()).add(row.split)
    if all(sides == {None} for sides in said.values()):
        return split(site, said, share)
    for patient, sides in said.items():
        if sides >= {"train", "test"}:
            sentence = f"patient {patient} of {site} is in train and in test; put all the patient's cases on one side"
            faults.append(Fault(table, "patient-in-both", sentence))
        elif None in sides:
            sentence = f"patient {patient} of {site} has a case without a split; fill in all or none"
            faults.append(Fault(table, "table", sentence))
    aside = frozenset(patient for patient, sides in said.items() if "test" in sides)
    if not aside:
        faults.append(Fault(table, "no-held-out", f"no case of {site} is in test; put at least one patient there"))
    return aside


def split(site: str, patients: Iterable[str], share: float) -> frozenset[str]:
    """Choose the held-out patients of a site: a share of them (at least one), those whose names hash lowest.

    The choice depends on names alone, not on the run's seed, so that runs can be compared. At least one patient
    is left for training where there are two or more.
    """

    def rank(patient: str) -> bytes:
        return hashlib.sha256(f"{site}/{patient}".encode()).digest()

    ranked = sorted(set(patients), key=rank)
    count = max(1, min(round(share * len(ranked)), len(ranked) - 1))
    return frozenset(ranked[:count])
