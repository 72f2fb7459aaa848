"""Holds every byte that crossed the wire of a deployed run against the ledgers, and says what is left."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.audit.crossing import Call, SiteWire, Surplus, WireAudit
from simulator.audit.model import Finding
from simulator.audit.reading import Evidence, Row, SiteEvidence
from simulator.contract import Contracts, agreed
from simulator.report.words import counted, size
from simulator.store import Store
from sites.errors import UserError

if TYPE_CHECKING:
    from simulator.flower.accounting import Place, Tally

# The stated overhead. Each constant is derived in docs/wire.md, where the measured figures are.
CALLS_A_DEPLOYMENT = 12
CALLS_A_REPLY = 4
SECONDS_A_CALL = 2.0
BYTES_A_CALL = 1000
BYTES_AN_OBJECT = 300


def wire_of(evidence: Evidence) -> WireAudit | None:
    """Account for the wire of a run; None where it was not deployed. Raises `UserError` where a record is damaged."""
    folders = sorted(path for path in (evidence.root / "wire").glob("*") if path.is_dir())
    if not folders:
        return None
    from simulator.flower.accounting import Accounting
    from simulator.flower.capture import Objects
    from simulator.flower.traffic import Session, read_traffic

    contracts = _contracts(evidence.root)
    tallies: dict[str, list[Tally]] = {site.home.site: [] for site in evidence.sites}
    sessions = [Session.read(folder) for folder in folders]
    for session in sessions:
        with tempfile.TemporaryDirectory(prefix="wardround-") as scratch:
            objects = Objects(Path(scratch))
            traffic = {name: read_traffic(session, name, objects) for name in tallies}
            for position, site in enumerate(evidence.sites):
                name = site.home.site
                accounting = Accounting(traffic[name], objects, position, _released(site), contracts)
                tallies[name].append(accounting.tally())
    return WireAudit(
        apart=all(session.apart for session in sessions),
        flwr=", ".join(sorted({session.flwr for session in sessions})),
        deployments=len(sessions),
        sites=tuple(_site(site, tallies[site.home.site], evidence) for site in evidence.sites),
    )


def _contracts(root: Path) -> Contracts | None:
    try:
        return agreed(Store(root).schedule().as_json())[1]
    except UserError:
        return None


def _released(site: SiteEvidence) -> dict[Place, Row]:
    """Return what a site's ledger says that it released, by turn, field and SHA-256."""
    return {(*row.place, row.sha256): row for row in site.rows if row.event == "release"}


def _site(site: SiteEvidence, tallies: Sequence[Tally], evidence: Evidence) -> SiteWire:
    traffic = [tally.traffic for tally in tallies]
    seconds = sum(one.seconds for one in traffic)
    replies, objects = sum(tally.replies for tally in tallies), sum(tally.objects for tally in tallies)
    most = CALLS_A_DEPLOYMENT * len(tallies) + CALLS_A_REPLY * replies + objects + ceil(seconds / SECONDS_A_CALL)
    seen = {place for tally in tallies for place in tally.seen}
    rows = _released(site)
    taken = {row.place for row in evidence.receipts.get(site.home.site, ())}
    calls: dict[str, Counter[str]] = {}
    surplus: Counter[str] = Counter()
    for tally in tallies:
        surplus.update(tally.surplus)
        for name, counts in tally.calls.items():
            calls.setdefault(name, Counter()).update(counts)
    return SiteWire(
        site=site.home.site,
        connections=sum(one.connections for one in traffic),
        seconds=round(seconds, 1),
        up=sum(one.up for one in traffic),
        down=sum(one.down for one in traffic),
        released=sum(tally.released for tally in tallies),
        spared=sum(tally.matched - tally.released for tally in tallies),
        framing=sum(tally.framing for tally in tallies),
        unchecked=sum(tally.unchecked for tally in tallies),
        unexplained=sum(tally.unexplained for tally in tallies),
        bound=BYTES_A_CALL * most + BYTES_AN_OBJECT * objects,
        requests=sum(len(one.requests) for one in traffic),
        call_bound=most,
        fields=len(seen),
        rows=len(rows),
        unseen=tuple(
            f"'{row.field}' of step {row.step}, round {row.round} ({row.purpose})"
            for place, row in rows.items()
            if place not in seen and row.place in taken
        ),
        calls=tuple(
            Call.model_validate({"name": name, **{key: counts[key] for key in Call.model_fields if key != "name"}})
            for name, counts in sorted(calls.items())
        ),
        surplus=tuple(Surplus(why=why, bytes=count) for why, count in sorted(surplus.items())),
        code=tuple(sorted({digest for one in traffic for digest in one.code})),
    )


def wire_faults(wire: WireAudit | None) -> Iterator[Finding]:
    """Yield what nothing accounts for on the wire of each site."""
    for site in wire.sites if wire else ():
        for one in site.surplus:
            sentence = f"{one.bytes:,} bytes went up over the wire that nothing accounts for: {one.why}."
            yield Finding(site=site.site, what="wire", sentence=sentence)
        for what in site.unseen:
            sentence = f"{what} came to the server, but did not cross the wire that was watched."
            yield Finding(site=site.site, what="wire", sentence=sentence)
        if site.requests > site.call_bound:
            sentence = f"{site.requests:,} requests went up over the wire; the stated most is {site.call_bound:,}."
            yield Finding(site=site.site, what="wire", sentence=sentence)
        if site.framing > site.bound:
            sentence = f"{site.framing:,} bytes of framing went up over the wire; the stated most is {site.bound:,}."
            yield Finding(site=site.site, what="wire", sentence=sentence)


def told_of(wire: WireAudit | None) -> tuple[str, ...]:
    """Say in plain words what crossed the wire; nothing where it was not watched."""
    if wire is None:
        return ()
    up, released = sum(site.up for site in wire.sites), sum(site.released for site in wire.sites)
    framing, left = sum(site.framing for site in wire.sites), sum(site.unexplained for site in wire.sites)
    fields, rows = sum(site.fields for site in wire.sites), sum(site.rows for site in wire.sites)
    accounted = (
        f"{size(up)} went up over the hospitals' connections: {size(released)} are released fields, known by their "
        f"SHA-256 ({fields} of {counted(rows, 'ledger entry', 'ledger entries')}), {size(framing)} are the protocol's "
        f"own framing, and {counted(left, 'byte')} {'is' if left == 1 else 'are'} unexplained."
    )
    apart = (
        "Each hospital ran in a network namespace of its own, in which there was nothing but this one door."
        if wire.apart
        else "Hospitals ran beside each other on one network: a connection past the watched door would not have shown."
    )
    return accounted, apart
