"""Seals a ledger at the end of a run, and says which rows of one were edited, removed, added or moved since."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from sites.ledger import GENESIS, read_rows, row_hash

Change = Literal["edited", "removed", "added", "moved", "cut off"]

# A row that claims a place beyond this is a forgery, and no reason to look for millions of lost rows.
MOST_ROWS = 10_000_000


class Seal(BaseModel):
    """How a ledger and its site's policy stood at the end of a run.

    hashes: the hash of each row; the last of them stands for all before it
    policy: SHA-256 of the policy's file, "" where there was none
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    head: str
    hashes: tuple[str, ...]
    policy: str


class Fault(BaseModel):
    """A change of a ledger after it was written: to rows `first` to `last`, counted from 0; `line` counts from 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: Change
    first: int
    last: int
    line: int | None = None

    def __str__(self) -> str:
        """Say what was done to which row."""
        if self.what == "added":
            return f"line {self.line} was added" if self.first == self.last else f"lines were added from {self.line} on"
        rows = f"row {self.first}" if self.first == self.last else f"rows {self.first} to {self.last}"
        verb = "was" if self.first == self.last else "were"
        return f"{rows} {verb} {self.what}{f' to line {self.line}' if self.what == 'moved' else ''}"


def seal_of(ledger: Path, policy: Path) -> Seal:
    """Return the seal of a ledger as it stands; an absent ledger has no row."""
    hashes = tuple(str(row.get("hash")) for row in read_rows(ledger))
    return Seal(rows=len(hashes), head=hashes[-1] if hashes else GENESIS, hashes=hashes, policy=digest_of(policy))


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, "" where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


@dataclass(frozen=True)
class Line:
    """A line of a ledger: the place that it claims, and its own and the row before's hash where it stands up."""

    serial: int | None = None
    hash: str | None = None
    previous: str = ""


def faults_in(text: str, sealed: Sequence[str] | None = None) -> tuple[Fault, ...]:
    """Return every change of a ledger's text since its rows were written, by the place of the row.

    sealed: the hash of each row when the ledger was sealed. Without it the rows vouch for each other: each holds the
    hash of the one before. A tail that is gone, or a ledger that was written anew as a whole, can then not be seen.
    """
    *whole, rest = text.split("\n")
    lines = [_line(line) for line in whole]
    if sealed is None:
        return _compare(lines, _vouched(lines))
    # A row is written with its end, so one without it has been touched.
    lines += [replace(_line(rest), hash=None)] if rest else []
    # A row that went before the sealing is missing in the seal as well: the chain alone tells.
    return _compare(lines, dict(enumerate(sealed)), sealed=True) or _compare(lines, _vouched(lines))


def _line(text: str) -> Line:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return Line()
    if not isinstance(row, dict):
        return Line()
    serial, previous = row.get("serial"), row.get("previous")
    if type(serial) is not int or not 0 <= serial < MOST_ROWS:
        return Line()
    if not isinstance(previous, str) or (serial == 0) != (previous == GENESIS) or row.get("hash") != row_hash(row):
        return Line(serial)
    return Line(serial, row["hash"], previous)


def _vouched(lines: Sequence[Line]) -> dict[int, str]:
    """Return the hash of each row: its own word for it, unless the row after it says otherwise."""
    own = {line.serial: line.hash for line in reversed(lines) if line.serial is not None and line.hash}
    return own | {line.serial - 1: line.previous for line in lines if line.serial and line.hash}


def _compare(lines: Sequence[Line], expected: Mapping[int, str], *, sealed: bool = False) -> tuple[Fault, ...]:
    """Find each expected row among the lines that stand there; what is over was added, what is missing is lost."""
    serials = {value: serial for serial, value in expected.items()}
    places: dict[int, int] = {}
    strange = []
    for number, line in enumerate(lines):
        serial = serials.get(line.hash or "")
        if serial is None or serial in places:
            strange.append(number)
        else:
            places[serial] = number
    end = max(expected, default=-1)
    lost = set(range(end + 1)) - places.keys()
    faults = [
        Fault(what="moved", first=serial, last=serial, line=places[serial] + 1) for serial in _out_of_order(places)
    ]
    by_line = sorted((number, serial) for serial, number in places.items())
    for number in strange:
        below = bisect_left(by_line, (number, -1))
        first = by_line[below - 1][1] + 1 if below else 0
        last = by_line[below][1] if below < len(by_line) else end + 1
        claimed = lines[number].serial
        gap = sorted(lost.intersection(range(first, last)))
        place = claimed if claimed in gap else next(iter(gap), None)
        lost.discard(-1 if place is None else place)
        what: Change = "added" if place is None else "edited"
        place = number if place is None else place
        faults.append(Fault(what=what, first=place, last=place, line=number + 1))
    faults += [Fault(what="removed", first=serial, last=serial) for serial in lost]
    runs = _runs(faults)
    if sealed and runs and (runs[-1].what, runs[-1].last) == ("removed", end):
        runs[-1] = runs[-1].model_copy(update={"what": "cut off"})
    return tuple(runs)


def _out_of_order(places: Mapping[int, int]) -> set[int]:
    """Return the fewest rows that must have moved, given the line of each."""
    ends: list[int] = []
    length: dict[int, int] = {}
    for serial in sorted(places):
        length[serial] = bisect_left(ends, places[serial])
        ends[length[serial] : length[serial] + 1] = [places[serial]]
    moved, wanted, bound = set(), len(ends) - 1, len(places) + max(places.values(), default=0) + 1
    for serial in sorted(places, reverse=True):
        if length[serial] == wanted and places[serial] < bound:
            wanted, bound = wanted - 1, places[serial]
        else:
            moved.add(serial)
    return moved


def _runs(faults: Iterable[Fault]) -> list[Fault]:
    """Join faults of one sort in rows that follow each other, in the order of the rows."""
    runs: list[Fault] = []
    for fault in sorted(faults, key=lambda fault: (fault.first, fault.what == "removed")):
        before = runs[-1] if runs else None
        if before and before.what == fault.what != "moved" and fault.first == before.last + 1:
            runs[-1] = before.model_copy(update={"last": fault.last})
        else:
            runs.append(fault)
    return runs
