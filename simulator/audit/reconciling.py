"""Holds a site's ledger against the server's receipts, the policy and the seal, and names every difference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from simulator.audit.model import Entry, Finding, Standing
from simulator.audit.reading import Row, SiteEvidence
from simulator.contract import Purpose
from sites.defences import COVERED
from sites.sealing import faults_in

STANDINGS: dict[str, Standing] = {"refusal": "refused", "received": "received", "training": "noted"}


def entries_of(site: SiteEvidence, receipts: Sequence[Row], *, complete: bool) -> tuple[Entry, ...]:
    """Return what the ledger records, in its order; the same bytes recorded again are one entry."""
    counts = Counter(map(_identity, site.rows))
    return tuple(
        Entry(
            event=row.event,
            purpose=row.purpose,
            step=row.step,
            round=row.round,
            field=row.field or None,
            kind=row.kind,
            bytes=row.bytes,
            sha256=row.sha256 or None,
            code=row.code or None,
            noise=row.noise,
            bare=row.bare,
            masked=row.masked,
            times=counts[_identity(row)],
            standing=_standing(row, site.rows, receipts, complete=complete),
        )
        for row in dict(zip(map(_identity, site.rows), site.rows, strict=True)).values()
    )


def findings_of(site: SiteEvidence, receipts: Sequence[Row], *, complete: bool) -> tuple[Finding, ...]:
    """Return all that is wrong with a site's records, each named by its row, turn and field."""
    return (
        *_changes(site),
        *_breaches(site, receipts),
        *_differences(site, receipts, complete=complete),
    )


def sums_in(sites: Sequence[SiteEvidence]) -> Iterator[Finding]:
    """Yield each masked release of a run that ended whose sum has not as many sites as its ledger says."""
    rows = [(site, row) for site in sites for row in site.rows if row.event == "release" and row.masked]
    members: dict[tuple[object, ...], set[str]] = {}
    for site, row in rows:
        members.setdefault((row.roster, row.place), set()).add(_name(site))
    for site, row in {(_name(site), row.roster, row.place): (site, row) for site, row in rows}.values():
        found = len(members[row.roster, row.place])
        if found != row.masked:
            sentence = (
                f"{_what(row)} left for a sum of {row.masked} sites, by whose ledgers {found} released into that sum."
            )
            yield _finding(site, row, "defence", sentence)


def _identity(row: Row) -> tuple[object, ...]:
    return row.event, row.place, row.kind, row.bytes, row.sha256, row.code, row.down, row.part


def _same(one: Row, other: Row) -> bool:
    return (one.kind, one.bytes, one.sha256, one.masked) == (other.kind, other.bytes, other.sha256, other.masked)


def _standing(row: Row, rows: Sequence[Row], receipts: Sequence[Row], *, complete: bool) -> Standing:
    """Say what became of a recorded row.

    A site records a release before it sends it, so a release may stand there that never left: where the site was
    interrupted in between it recorded a refusal of the same turn after it; where the run was killed, or the reply was
    lost, the run has not ended and this turn is the site's newest.
    """
    if row.event != "release":
        return STANDINGS[row.event]
    taken = [receipt for receipt in receipts if receipt.place == row.place]
    if taken:
        return "receipted" if all(_same(row, receipt) for receipt in taken) else "at fault"
    if [other for other in rows if other.turn == row.turn][-1].event == "refusal":
        return "withheld"
    return "open" if not complete and rows[-1].turn == row.turn else "at fault"


def _changes(site: SiteEvidence) -> Iterator[Finding]:
    """Yield what was done to the ledger, the policy or the seal since."""
    own, kept = site.seals or (None, None)
    for fault in faults_in(site.ledger, kept.hashes if kept else None):
        yield Finding(site=_name(site), what="ledger", sentence=f"In the site's ledger {fault}.", fault=fault)
    if own != kept:
        sentence = "The site's own seal of its ledger is not the one that the server kept."
        yield Finding(site=_name(site), what="seal", sentence=sentence)
    if kept and kept.policy != site.policy_digest:
        sentence = "The site's policy is not the one that stood at the end of the run."
        yield Finding(site=_name(site), what="policy", sentence=sentence)
    for line in site.unreadable:
        sentence = f"Line {line} of the site's ledger can't be read."
        yield Finding(site=_name(site), what="unreadable", sentence=sentence)


def _breaches(site: SiteEvidence, receipts: Sequence[Row]) -> Iterator[Finding]:
    """Yield each release that the site's policy does not admit, by either record."""
    left = [row for row in (*site.rows, *receipts) if row.event == "release"]
    for row in {row.place: row for row in left if row.kind not in site.policy.admit}.values():
        sentence = f"{_what(row)} left as {row.kind}, which the site's policy does not admit."
        yield _finding(site, row, "kind", sentence)
    for row in (row for row in site.rows if row.event == "release" and row.purpose == Purpose.LEARN):
        if row.kind in COVERED and (row.clip, row.noise) != (site.policy.clip, site.policy.noise):
            sentence = f"{_what(row)} left without the clipping and noise that the site's policy asks for."
            yield _finding(site, row, "defence", sentence)
        if site.policy.secure_aggregation is not None and (row.masked or 1) < site.policy.secure_aggregation.least:
            sentence = f"{_what(row)} left otherwise than in a sum of as many sites as the site's policy asks for."
            yield _finding(site, row, "defence", sentence)
    budget, spent = site.policy.byte_budget, sum(row.bytes for row in site.rows if row.event == "release")
    if budget is not None and spent > budget:
        sentence = f"{spent:,} bytes are recorded as released; the site's policy lets {budget:,} out."
        yield Finding(site=_name(site), what="budget", sentence=sentence)


def _differences(site: SiteEvidence, receipts: Sequence[Row], *, complete: bool) -> Iterator[Finding]:
    """Yield each release that only one record has, or that they have differently; a repeated turn is none."""
    released = _by_place(row for row in site.rows if row.event == "release")
    received = _by_place(receipts)
    for place, rows in released.items():
        first, taken = rows[0], received.get(place, [])
        for row in _unlike(rows):
            sentence = f"{_what(row)} is recorded twice with other bytes: {_form(first)}, then {_form(row)}."
            yield _finding(site, row, "twice", sentence)
        for row in taken[:1]:
            if not any(_same(row, other) for other in rows):
                sentence = f"{_what(row)}: the ledger has {_form(first)}, the receipt {_form(row)}."
                yield _finding(site, row, "differs", sentence)
        for row in _unlike(taken):
            sentence = f"{_what(row)} is receipted twice with other bytes: {_form(taken[0])}, then {_form(row)}."
            yield _finding(site, row, "twice", sentence)
        if not taken and _standing(first, site.rows, receipts, complete=complete) == "at fault":
            sentence = f"{_what(first)} left by the ledger ({_form(first)}), but the server has no receipt."
            yield _finding(site, first, "no receipt", sentence)
    for place, rows in received.items():
        if place not in released:
            sentence = f"{_what(rows[0])} came to the server ({_form(rows[0])}), but the ledger has no such release."
            yield _finding(site, rows[0], "no release", sentence)


def _by_place(rows: Iterable[Row]) -> dict[tuple[str, int, int, str], list[Row]]:
    found: dict[tuple[str, int, int, str], list[Row]] = {}
    for row in rows:
        found.setdefault(row.place, []).append(row)
    return found


def _unlike(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows[1:] if not _same(row, rows[0])]


def _finding(site: SiteEvidence, row: Row, what: str, sentence: str) -> Finding:
    return Finding.model_validate(
        {
            "site": _name(site),
            "what": what,
            "sentence": sentence,
            "step": row.step,
            "round": row.round,
            "purpose": row.purpose,
            "field": row.field,
        }
    )


def _name(site: SiteEvidence) -> str:
    return site.home.site


def _what(row: Row) -> str:
    return f"'{row.field}' of step {row.step}, round {row.round} ({row.purpose})"


def _form(row: Row) -> str:
    masked = "" if row.masked is None else f", masked in a sum of {row.masked} sites"
    return f"{row.kind}, {row.bytes:,} bytes, SHA-256 {row.sha256[:12]}{masked}"
