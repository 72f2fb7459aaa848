"""Reads the evidence of an audit from a run folder, without opening its data or its strategy."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from simulator.config import ScheduleConfig
from simulator.document import Document
from simulator.schedule import timeline_of
from simulator.site import Home
from simulator.store import Store
from sites.errors import UserError
from sites.policy import SitePolicy
from sites.sealing import Seal, digest_of
from sites.wire import Kind


class Row(BaseModel):
    """A row of a ledger or of the receipts; other keys are the chain's.

    clip, noise, bare: of a release, the defences in force, and its bytes that went without
    masked, roster: of a release that can be read in a sum alone, over how many sites, and the digest of who they are
    down to delta: of private training, what it spent
    """

    event: Literal["release", "refusal", "received", "training"]
    purpose: str
    step: int
    round: int
    site: str = ""
    field: str = ""
    kind: Kind | None = None
    bytes: int = 0
    sha256: str = ""
    code: str = ""
    clip: float | None = None
    noise: float | None = None
    bare: int = 0
    masked: int | None = None
    roster: str = ""
    down: str = ""
    part: int = 0
    noise_multiplier: float = 0.0
    sample_rate: float = 0.0
    steps: int = 0
    patients: int = 0
    delta: float = 0.0

    @property
    def turn(self) -> tuple[str, int, int]:
        """What a site was asked for, once in a run."""
        return self.purpose, self.step, self.round

    @property
    def place(self) -> tuple[str, int, int, str]:
        """What there is once in a turn."""
        return *self.turn, self.field


@dataclass(frozen=True, kw_only=True)
class SiteEvidence:
    """What a site's folder holds. `unreadable`: lines of the ledger that are no row; `seals`: its own, the server's."""

    home: Home
    policy: SitePolicy
    policy_digest: str
    ledger: str
    rows: tuple[Row, ...]
    unreadable: tuple[int, ...]
    seals: tuple[Seal, Seal] | None


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a run folder holds. `receipts` by site; `unreadable`: lines of the receipts that are none."""

    root: Path
    config: ScheduleConfig
    versions: Mapping[str, str]
    complete: bool
    sites: tuple[SiteEvidence, ...]
    receipts: Mapping[str, tuple[Row, ...]]
    unreadable: tuple[int, ...]
    seal: str


def read_evidence(root: Path) -> Evidence:
    """Read a run folder. Raises `UserError` where it is none, or one of its files is missing or can't be read."""
    store = Store(root)
    document = Document.read(root / "config.yaml")
    settings = document.data
    config = document.validated(ScheduleConfig, settings)
    complete = store.done
    receipts, unreadable = _rows(root / "receipts.jsonl", needed=complete)
    by_site: dict[str, list[Row]] = {site: [] for site in timeline_of(config).sites}
    for row in receipts:
        by_site.setdefault(row.site, []).append(row)
    seals = _seals(root) if complete else {}
    return Evidence(
        root=root,
        config=config,
        versions=store.versions(),
        complete=complete,
        sites=tuple(
            _site(store.home(site), needed=complete or bool(by_site[site]), seal=seals.get(site), sealed=complete)
            for site in timeline_of(config).sites
        ),
        receipts={site: tuple(rows) for site, rows in by_site.items()},
        unreadable=unreadable,
        seal=digest_of(root / "seals.json") if complete else "",
    )


def _site(home: Home, *, needed: bool, seal: Seal | None, sealed: bool) -> SiteEvidence:
    path = home.root / "policy.yaml"
    if not path.exists():
        raise _missing(path)
    rows, unreadable = _rows(home.root / "ledger.jsonl", needed=needed)
    text = _text(home.root / "ledger.jsonl") if (home.root / "ledger.jsonl").exists() else ""
    if sealed and seal is None:
        raise UserError(f"{home.root.parent.parent / 'seals.json'}: holds no seal of site '{home.site}'")
    return SiteEvidence(
        home=home,
        policy=home.policy(),
        policy_digest=digest_of(path),
        ledger=text,
        rows=rows,
        unreadable=unreadable,
        seals=(_own_seal(home.root / "seal.json"), seal) if seal else None,
    )


def _rows(path: Path, *, needed: bool) -> tuple[tuple[Row, ...], tuple[int, ...]]:
    """Return the rows of a file of JSON lines, and the lines (from 1) that are none; a torn last line is left out."""
    if not path.exists():
        if needed:
            raise _missing(path)
        return (), ()
    rows, unreadable = [], []
    for number, line in _lines(path):
        try:
            rows.append(Row.model_validate_json(line))
        except ValidationError:
            unreadable.append(number)
    return tuple(rows), tuple(unreadable)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    yield from enumerate(_text(path).split("\n")[:-1], start=1)


def _text(path: Path) -> str:
    """Return a file's text; what is no UTF-8 shows as changed rows."""
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror})") from error


def _seals(root: Path) -> dict[str, Seal]:
    try:
        found = json.loads(_text(root / "seals.json"))
        return {site: Seal.model_validate(seal) for site, seal in found.items()}
    except (ValueError, AttributeError) as error:
        raise UserError(f"{root / 'seals.json'}: does not hold the seals of a run") from error


def _own_seal(path: Path) -> Seal:
    try:
        return Seal.model_validate_json(_text(path))
    except ValidationError as error:
        raise UserError(f"{path}: does not hold the seal of a ledger") from error


def _missing(path: Path) -> UserError:
    return UserError(f"{path}: is missing; without it the run can't be audited")
