"""What `wardround audit` does: audit, write the page and the JSON, print the tables, and return the exit code."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from simulator.audit.auditing import audit_run
from simulator.audit.bench_model import BenchAudit, Trial
from simulator.audit.benches import audit_bench
from simulator.audit.crossing import WireAudit
from simulator.audit.model import Finding, PlanAudit, RunAudit, SiteAudit, Total
from simulator.audit.page import write_page
from simulator.audit.plans import audit_plan
from simulator.report.words import NONE, counted, size
from simulator.terminal import out
from sites.files import write_whole
from sites.wire import Kind

CHANGED = ("ledger", "seal", "policy", "unreadable")


def audit(folder: Path, *, as_json: bool) -> int:
    """Audit a run or a bench folder, and write `audit.html` and `audit.json` there.

    Returns 0 where the audit passes, else 1. Raises `UserError` where a file is missing.
    """
    found = _audit(folder)
    write_whole(folder / "audit.json", found.model_dump_json(indent=1) + "\n")
    write_page(found, folder / "audit.html")
    if as_json:
        out.print_json(found.model_dump_json())
    else:
        out.print(run_table(found) if isinstance(found, RunAudit) else bench_table(found))
        if isinstance(found, RunAudit) and found.wire:
            out.print(wire_table(found.wire))
        _print_findings(_named(found))
        _print_lines(found.sentences)
        _print_lines((f"audit: {folder / 'audit.html'}",))
    return 0 if found.verdict == "passed" else 1


def verify(folder: Path, *, as_json: bool) -> int:
    """Look for ledgers that were changed in a run or a bench folder; return 0 where none was, else 1."""
    found = _audit(folder)
    runs = [found] if isinstance(found, RunAudit) else [trial.audit for trial in found.trials if trial.audit]
    listed = [(place, one) for place, one in _named(found) if one.what in CHANGED]
    sites = [site for run in runs for site in run.sites]
    if as_json:
        told = [{"ledger": place, **one.model_dump(mode="json")} for place, one in listed]
        out.print_json(json.dumps({"intact": not listed, "ledgers": len(sites), "findings": told}))
        return 1 if listed else 0
    _print_findings(listed)
    sealed, rows = sum(site.sealed for site in sites), sum(site.rows for site in sites)
    words = f"{counted(len(sites), 'ledger')} of {counted(rows, 'row')}, {sealed} sealed: "
    _print_lines((words + (counted(len(listed), "finding") if listed else "none was changed"),))
    if sealed < len(sites):
        _print_lines(("A run that did not end has no seal: rows cut off the end of its ledgers can't be seen.",))
    return 1 if listed else 0


def plan(path: Path, overrides: Sequence[str], *, as_json: bool) -> int:
    """Print what a schedule would let out and what the policies say to it; return 0 where they admit it, else 1."""
    found = audit_plan(path, overrides)
    if as_json:
        out.print_json(found.model_dump_json())
    else:
        out.print(leaving_table(found))
        out.print(policy_table(found))
        _print_lines(dict.fromkeys(sentence for site in found.sites for sentence in site.defences))
        _print_lines(found.sentences)
    return 0 if found.verdict == "passed" else 1


def _audit(folder: Path) -> RunAudit | BenchAudit:
    return audit_bench(folder) if (folder / "plan.json").exists() else audit_run(folder)


def _named(found: RunAudit | BenchAudit) -> list[tuple[str, Finding]]:
    """Return each finding with where it is: the site, and in a bench the trial before it."""
    if isinstance(found, RunAudit):
        return [(one.site or "server", one) for one in found.findings]
    return [
        (f"{place_of(trial)}: {one.site or 'server'}", one)
        for trial in found.trials
        if trial.audit
        for one in trial.audit.findings
    ]


def place_of(trial: Trial) -> str:
    """Return what a person calls a trial."""
    return f"{trial.schedule}, {trial.strategy}, {trial.order}, seed {trial.seed}"


def run_table(found: RunAudit) -> Table:
    """Return a row for each site: what left, what was refused, what came down, what it keeps, and its findings."""
    table = _table(f"{found.name}: what left each site of '{found.run}'", "site")
    table.add_column("left for learning", no_wrap=True)
    for column in ("scores", "refused", "down", "kept", "rows", "findings"):
        table.add_column(column, justify="left" if column == "refused" else "right")
    for site in found.sites:
        table.add_row(
            site.site,
            kinds_text(total for total in site.released if total.purpose == "learn"),
            size(sum(total.bytes for total in site.released if total.purpose == "score")),
            ", ".join(f"{code} {count}" for code, count in site.refusals.items()) or NONE,
            size(sum(total.bytes for total in site.received)),
            size(_kept(site)),
            f"{site.rows}{'' if site.sealed else ' (not sealed)'}",
            str(len(site.findings) or "none"),
        )
    return table


def wire_table(wire: WireAudit) -> Table:
    """Return a row for each site: what went up over its wire, and what accounts for it."""
    table = _table("What went up over the wire, in bytes", "site")
    for column in ("up", "released", "framing", "unexplained", "most framing", "ledger entries found"):
        table.add_column(column, justify="right")
    for site in wire.sites:
        counts = (site.up, site.released, site.framing, site.unexplained, site.bound)
        table.add_row(site.site, *(f"{count:,}" for count in counts), f"{site.fields} of {site.rows}")
    return table


def bench_table(found: BenchAudit) -> Table:
    """Return the strategies side by side: mean bytes that left a trial by kind, and what the default policy says.

    Schedules and defences have a column where there is anything to tell apart.
    """
    several = len({one.schedule for one in found.compared}) > 1
    defended = any(one.defences for one in found.compared)
    table = _table(f"{found.name}: what left in a trial, on average", *(["schedule"] if several else []), "strategy")
    table.add_column("left", no_wrap=True)
    for column in ("down", "kept", "refused", "findings"):
        table.add_column(column, justify="right")
    for column in (*(["defences"] if defended else []), "default policy"):
        table.add_column(column)
    for one in found.compared:
        table.add_row(
            *([one.schedule] if several else []),
            one.strategy,
            _lines_of(one.released),
            size(one.received),
            size(one.kept),
            str(one.refusals),
            str(one.findings),
            *(["\n".join(one.defences) or NONE] if defended else []),
            f"[bold red]refuses {', '.join(one.outside)}[/bold red]" if one.outside else "admits",
        )
    return table


def leaving_table(found: PlanAudit) -> Table:
    """Return what would leave a site, field by field."""
    table = _table(f"{found.name}: what '{found.strategy}' would release each time", "purpose", "field", "kind")
    for column in ("bytes in the first turn", "bytes later"):
        table.add_column(column, justify="right")
    for one in found.leaving:
        table.add_row(one.purpose, one.field, one.kind, f"{one.first:,}", f"{one.later:,}")
    return table


def policy_table(found: PlanAudit) -> Table:
    """Return what each site's policy says."""
    table = _table("What the policies say", "site", "policy", "admits", "verdict")
    for site in found.sites:
        refused = f"refuses {', '.join(site.refused)}" if site.refused else site.undefended
        verdict = f"[bold red]{escape(refused)}[/bold red]" if refused else "admits all"
        table.add_row(site.site, site.policy, ", ".join(site.admit), verdict)
    return table


def kinds_text(totals: Iterable[Total]) -> str:
    """Write kinds with their bytes, each on a line of its own; a dash where there is none."""
    sums: dict[Kind, float] = {}
    for total in totals:
        sums[total.kind] = sums.get(total.kind, 0) + total.bytes
    return _lines_of(sums)


def _lines_of(sums: Mapping[Kind, float]) -> str:
    return "\n".join(f"{kind} {size(count)}" for kind, count in sums.items()) or NONE


def _kept(site: SiteAudit) -> int:
    return sum(one.bytes for one in site.kept)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column)
    return table


def _print_findings(findings: Sequence[tuple[str, Finding]]) -> None:
    _print_lines(f"{place}: {one.sentence}" for place, one in findings)


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        out.print(line, markup=False, soft_wrap=True)
