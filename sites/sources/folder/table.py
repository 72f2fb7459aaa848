"""Read cases.csv: which patient a case belongs to, when it was acquired, and whether it is held out."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, cast

from sites.sources.folder.faults import Fault

COLUMNS = ("site", "case", "patient", "acquired", "split")
Split = Literal["train", "test"]


@dataclass(frozen=True)
class Row:
    """One line of cases.csv. A case without a patient is its own patient; what else is left blank is none."""

    line: int
    site: str
    case: str
    patient: str
    acquired: datetime | None = None
    split: Split | None = None


def read_table(path: Path) -> tuple[list[Row], list[Fault]]:
    """Return the rows that hold, and a fault with its line number for each thing that does not."""
    faults: list[Fault] = []
    try:
        # Excel writes a byte-order mark, which would otherwise become part of the first column's name.
        text = path.read_text(encoding="utf-8-sig")
        reader = csv.DictReader(text.splitlines(), restkey="", restval="", strict=True)
        lines = [(reader.line_num, line) for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        return [], [Fault(path, "table", f"is not comma-separated UTF-8 text: {error}")]
    columns = [name.strip() for name in reader.fieldnames or ()]
    for column in columns:
        if column not in COLUMNS:
            near = get_close_matches(column, COLUMNS, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            sentence = f"line 1: unknown column {column!r}{hint}; the columns are {', '.join(COLUMNS)}, split by commas"
            faults.append(Fault(path, "table", sentence))
    faults += [
        Fault(path, "table", f"line 1: the column {column} is missing; add it")
        for column in ("site", "case")
        if column not in columns
    ]
    if faults:
        return [], faults
    rows: list[Row] = []
    first: dict[tuple[str, str], int] = {}
    for number, line in lines:
        try:
            row = _row(number, line)
        except ValueError as error:
            faults.append(Fault(path, "table", f"line {number}: {error}"))
            continue
        if (earlier := first.setdefault((row.site, row.case), number)) != number:
            faults.append(
                Fault(path, "table", f"line {number}: {row.site}/{row.case} is on line {earlier} too; keep one")
            )
            continue
        rows.append(row)
    return rows, faults


def _row(number: int, line: dict[str, str]) -> Row:
    if "" in line:
        raise ValueError("has more fields than the first line has columns; quote a field that holds a comma")
    cells = {name.strip(): cell.strip() for name, cell in line.items()}
    for column in ("site", "case"):
        if not cells[column]:
            raise ValueError(f"{column} is blank; fill it in")
    split = cells.get("split") or None
    if split not in ("train", "test", None):
        raise ValueError(f"split is {split!r}; write train or test")
    return Row(
        line=number,
        site=cells["site"],
        case=cells["case"],
        patient=cells.get("patient") or cells["case"],
        acquired=_date(cells["acquired"]) if cells.get("acquired") else None,
        split=cast("Split | None", split),
    )


def _date(text: str) -> datetime:
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"acquired is {text!r}; write an ISO date such as 2024-05-31") from None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
