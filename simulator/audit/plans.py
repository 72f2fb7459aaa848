"""Audits a schedule before it runs: what would leave each site, and what the sites' policies say to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from simulator.audit.auditing import outside_default
from simulator.audit.channels import LIMITS
from simulator.audit.declaring import TURNS
from simulator.audit.model import Leaving, PlanAudit, PlannedSite
from simulator.audit.protections import protections_of
from simulator.contract import Contracts, Purpose
from simulator.defending import masked, undefended
from simulator.report.words import counted, listed
from simulator.schedule import Schedule, read_schedule
from simulator.store import versions
from sites.wire import Kind, Manifest


def audit_plan(path: Path, overrides: Sequence[str]) -> PlanAudit:
    """Audit a schedule without opening its data. Raises `ConfigError` where it does not hold."""
    schedule = read_schedule(path, overrides)
    contracts = Contracts(schedule)
    summed = masked(schedule)
    keys = contracts.of(Purpose.KEYS, TURNS["first"], masked=True).sent.manifest if summed else ()
    first, later = (contracts.of(Purpose.LEARN, turn, masked=summed).sent for turn in TURNS.values())
    scoring = contracts.of(Purpose.SCORE, TURNS["first"])
    leaving = (
        *_fields(Purpose.KEYS, keys, keys),
        *_fields(Purpose.LEARN, first.manifest, later.manifest),
        *_fields(Purpose.SCORE, scoring.up.manifest, scoring.up.manifest),
    )
    sites = tuple(_site(schedule, site, leaving) for site in schedule.timeline.sites)
    refusing = [site for site in sites if site.refused or site.undefended]
    return PlanAudit(
        wardround=versions().get("wardround", "unknown"),
        name=schedule.config.name,
        task=schedule.config.task,
        strategy=schedule.config.strategy.name,
        seed=schedule.config.seed,
        verdict="failed" if refusing else "passed",
        sentences=_sentences(schedule, sites, leaving),
        outside=outside_default({one.kind for one in leaving}),
        leaving=leaving,
        sites=sites,
        limits=LIMITS,
    )


def _fields(purpose: Purpose, first: Manifest, later: Manifest) -> list[Leaving]:
    fields = {leaf.field: leaf.kind for leaf in (*first, *later)}
    return [
        Leaving(purpose=purpose, field=field, kind=kind, first=_bytes(first, field), later=_bytes(later, field))
        for field, kind in fields.items()
    ]


def _bytes(manifest: Manifest, field: str) -> int:
    return sum(leaf.nbytes for leaf in manifest if leaf.field == field)


def _site(schedule: Schedule, site: str, leaving: Sequence[Leaving]) -> PlannedSite:
    policy = schedule.policies[site]
    asked = {one.kind for one in leaving if one.purpose == Purpose.SCORE or site in schedule.timeline.seen}
    return PlannedSite(
        site=site,
        policy=schedule.config.site_policies.get(site, schedule.config.policy),
        admit=policy.admit,
        refused=tuple(kind for kind in Kind if kind in asked and kind not in policy.admit),
        defences=protections_of(policy, planned=True),
        undefended=undefended(schedule, site) if site in schedule.timeline.seen else "",
    )


def _sentences(schedule: Schedule, sites: Sequence[PlannedSite], leaving: Sequence[Leaving]) -> tuple[str, ...]:
    strategy, kinds = schedule.config.strategy.name, [kind for kind in Kind if kind in {one.kind for one in leaving}]
    refusing = [site for site in sites if site.refused or site.undefended]
    declared = f"Strategy '{strategy}' declares that it releases {listed(kinds)}, scores included."
    if not refusing:
        return (f"The policies of all {counted(len(sites), 'site')} admit what would leave them.", declared)
    kept = [kind for kind in Kind if any(kind in site.refused for site in refusing)]
    refused = listed(kept) if kept else "anything"
    opening = (
        f"This schedule is refused: {counted(len(refusing), 'site')} of {len(sites)} "
        f"would not let {refused} out, and no data would be read."
    )
    faults = dict.fromkeys(f"A site {site.undefended}." for site in refusing if site.undefended)
    return (opening, *faults, declared)
