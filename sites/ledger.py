"""The site's own record of what left it, what was refused and what came down: a hash-chained file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

GENESIS = "0" * 64

Row = dict[str, Any]


class Ledger:
    """Rows appended to a JSON-lines file, each holding the hash of the row before it.

    A row is never rewritten. A last line that was cut short by a kill is dropped on opening: a row is written
    before its message leaves, so what it would have recorded was not sent.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._take_up()

    def _take_up(self) -> None:
        """Go on from what the file holds."""
        rows = mend(self.path)
        self._serial = len(rows)
        self._last: str = rows[-1]["hash"] if rows else GENESIS
        self.bytes_released: int = sum(row["bytes"] for row in rows if row["event"] == "release")

    def rows(self) -> list[Row]:
        """Return all rows, oldest first."""
        return read_rows(self.path)

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Chain rows to the file in one write."""
        lines = []
        for row in rows:
            chained = {"serial": self._serial, **row, "previous": self._last}
            chained["hash"] = self._last = row_hash(chained)
            self._serial += 1
            self.bytes_released += row["bytes"] if row["event"] == "release" else 0
            lines.append(json.dumps(chained) + "\n")
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write("".join(lines))
        except BaseException:  # a full disk: a row may be written in part, and the next one must not follow it
            self._take_up()
            raise


def row_hash(row: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a row without its own hash, over its canonical JSON."""
    body = {key: value for key, value in row.items() if key != "hash"}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def read_rows(path: Path) -> list[Row]:
    """Return the complete rows of a JSON-lines file; an absent file has none."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def mend(path: Path) -> list[Row]:
    """Cut an unfinished last line off a JSON-lines file, and return its rows."""
    rows = read_rows(path)
    if path.exists():
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with path.open("r+b") as file:
                file.truncate(whole)
    return rows


def first_broken(rows: Iterable[Row]) -> int | None:
    """Return the position of the first row that does not continue the chain, or None where all do."""
    last = GENESIS
    for position, row in enumerate(rows):
        if row.get("serial") != position or row.get("previous") != last or row.get("hash") != row_hash(row):
            return position
        last = row["hash"]
    return None
