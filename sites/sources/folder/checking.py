"""List everything that is wrong with a data folder, case by case, and never stop at the first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from sites.sources.folder.config import FolderConfig
from sites.sources.folder.faults import Fault
from sites.sources.folder.layout import Survey, survey
from sites.sources.folder.preparing import examine
from sites.sources.folder.public import dofe, saml


@dataclass(frozen=True)
class Checked:
    """One step of a check: the file looked at (relative to the root), its faults, and how far the check has come."""

    file: Path
    faults: tuple[Fault, ...]
    done: int
    total: int


LAYOUTS: dict[str, Callable[[Path, float], Survey]] = {"plain": survey, "saml": saml, "dofe": dofe}


def surveyed(config: FolderConfig) -> Survey:
    """Look through a root in its own layout."""
    return LAYOUTS[config.layout](config.root, config.held_out)


def check(config: FolderConfig) -> Iterator[Checked]:
    """Look at the layout and cases.csv first, then into both files of every case; yield after each.

    Bad content is yielded, never raised. Files are relative to the root.
    """
    root = config.root
    found = surveyed(config)
    total = len(found.entries) + 1
    yield Checked(Path(), _relative(found.faults, root), 1, total)
    for done, entry in enumerate(found.entries, start=2):
        _, _, faults = examine(entry.image, entry.mask, config)
        yield Checked(entry.image.relative_to(root), _relative(faults, root), done, total)


def _relative(faults: list[Fault], root: Path) -> tuple[Fault, ...]:
    return tuple(replace(fault, file=fault.file.relative_to(root)) for fault in faults)
