"""Audits a run: from the evidence in its folder to a verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from simulator.audit.channels import LIMITS, channels_of
from simulator.audit.declaring import Declared, declared_in, undeclared
from simulator.audit.model import Entry, Finding, Policy, RunAudit, SiteAudit, Total
from simulator.audit.protections import protections_of, settings_of, spent_by
from simulator.audit.reading import Evidence, Row, SiteEvidence, read_evidence
from simulator.audit.reconciling import entries_of, findings_of, sums_in
from simulator.audit.retention import kept_in, strange_in
from simulator.audit.wiring import told_of, wire_faults, wire_of
from simulator.audit.words import sentences_of
from simulator.config import shipped
from simulator.document import Document
from simulator.store import versions
from sites.ledger import GENESIS
from sites.policy import SitePolicy
from sites.wire import Kind


def audit_run(root: Path) -> RunAudit:
    """Audit a run folder. Raises `UserError` where it is none, or lacks a file."""
    evidence = read_evidence(root)
    declared = declared_in(root)
    sites = tuple(
        _site(site, evidence.receipts.get(site.home.site, ()), declared, complete=evidence.complete)
        for site in evidence.sites
    )
    wire = wire_of(evidence)
    findings = (
        *_of_the_server(evidence),
        *(finding for site in sites for finding in site.findings),
        *(sums_in(evidence.sites) if evidence.complete else ()),
        *wire_faults(wire),
    )
    config = evidence.config
    return RunAudit(
        wardround=versions().get("wardround", "unknown"),
        run=root.name or str(root.resolve().name),
        name=config.name,
        task=config.task,
        strategy=config.strategy.name,
        seed=config.seed,
        started=evidence.versions.get("started", ""),
        complete=evidence.complete,
        verdict="failed" if findings else "passed",
        sentences=(
            *sentences_of(sites, findings, complete=evidence.complete, declared=declared is not None),
            *told_of(wire),
        ),
        outside=outside_default({total.kind for site in sites for total in site.released}),
        seal=evidence.seal,
        sites=sites,
        wire=wire,
        findings=findings,
        channels=channels_of(sites),
        limits=LIMITS,
    )


def outside_default(kinds: Iterable[Kind]) -> tuple[Kind, ...]:
    """Return those of some kinds that the shipped default policy does not admit."""
    document = Document.read(shipped("policies")["default"])
    admitted = document.validated(SitePolicy, document.data).admit
    held = set(kinds)
    return tuple(kind for kind in Kind if kind in held and kind not in admitted)


def _of_the_server(evidence: Evidence) -> list[Finding]:
    """Return what is wrong with the receipts themselves."""
    known = {site.home.site for site in evidence.sites}
    strangers = [row for site, rows in evidence.receipts.items() if site not in known for row in rows]
    return [
        *(
            Finding(site=row.site, what="no release", sentence=f"A receipt names '{row.site}', no site of this run.")
            for row in {row.site: row for row in strangers}.values()
        ),
        *(
            Finding(site="", what="unreadable", sentence=f"Line {line} of the server's receipts can't be read.")
            for line in evidence.unreadable
        ),
    ]


def _site(site: SiteEvidence, receipts: tuple[Row, ...], declared: Declared | None, *, complete: bool) -> SiteAudit:
    entries = entries_of(site, receipts, complete=complete)
    kept, older = kept_in(site.home.root / "vault")
    spent = spent_by(site.rows, site.policy)
    seal = site.seals[1] if site.seals else None
    return SiteAudit(
        site=site.home.site,
        policy=Policy(admit=site.policy.admit, settings=settings_of(site.policy)),
        defences=protections_of(site.policy, spent),
        spent=spent,
        entries=entries,
        released=_totals(entry for entry in entries if entry.event == "release" and entry.standing != "withheld"),
        received=_totals(entry for entry in entries if entry.event == "received"),
        refusals=dict(Counter(row.code for row in site.rows if row.event == "refusal")),
        rows=len(site.rows),
        head=seal.head if seal else GENESIS,
        sealed=seal is not None,
        kept=kept,
        older=older,
        strange=strange_in(site.home.root),
        findings=(
            *findings_of(site, receipts, complete=complete),
            *(undeclared(site, declared) if declared else ()),
        ),
    )


def _totals(entries: Iterable[Entry]) -> tuple[Total, ...]:
    """Sum entries up by purpose and kind."""
    found: dict[tuple[str, Kind], list[int]] = {}
    for entry in entries:
        if entry.kind is not None:
            found.setdefault((entry.purpose, entry.kind), []).append(entry.bytes)
    return tuple(
        Total(purpose=purpose, kind=kind, count=len(sizes), bytes=sum(sizes))
        for (purpose, kind), sizes in found.items()
    )
