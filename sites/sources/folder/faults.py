"""What can be wrong with a folder of data, as values that are listed together instead of raised one by one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sites.errors import SourceError

What = Literal[
    "missing-root",
    "empty-site",
    "no-held-out",
    "unknown-format",
    "missing-partner",
    "two-files",
    "table",
    "missing-case",
    "unlisted-case",
    "patient-in-both",
    "unreadable",
    "shape-mismatch",
    "misaligned",
    "fractional-label",
    "unknown-label",
    "empty-mask",
]

# A run goes on in spite of these: each leaves a case out, or concerns one case that can still be used.
HARMLESS: frozenset[What] = frozenset(
    {"empty-site", "no-held-out", "unknown-format", "unlisted-case", "unknown-label", "empty-mask"}
)


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: the file, a code for programs, and a sentence (with the fix) for people.

    `check` gives the file relative to the root.
    """

    file: Path
    what: What
    sentence: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}: {self.sentence}"


def raise_serious(faults: list[Fault], check: str) -> None:
    """Raise `SourceError` for the first fault that a run can't go on with, and say which command lists the others."""
    serious = [fault for fault in faults if fault.what not in HARMLESS]
    if serious:
        more = f" (and {len(serious) - 1} more)" if len(serious) > 1 else ""
        raise SourceError(f"{serious[0]}{more}; `{check}` lists every fault")
