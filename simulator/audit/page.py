"""Writes the page of an audit: one HTML file for people, which prints well and needs nothing else."""

from __future__ import annotations

from pathlib import Path

from simulator.audit.bench_model import BenchAudit
from simulator.audit.model import Entry, RunAudit
from simulator.report.ink import KINDS
from simulator.report.template import fill
from simulator.report.words import NONE, counted, size
from sites.files import write_whole

_HERE = Path(__file__).parent


def write_page(found: RunAudit | BenchAudit, path: Path) -> None:
    """Write the page of an audit to `path`, whole or not at all."""
    write_whole(path, render(found))


def render(found: RunAudit | BenchAudit) -> str:
    """Return an audit as HTML."""
    if isinstance(found, BenchAudit):
        kinds = [kind for kind in KINDS if any(kind in one.released for one in found.compared)]
        return _fill("audit_bench.html", audit=found, kinds=kinds)
    kinds = [kind for kind in KINDS if any(total.kind == kind for site in found.sites for total in site.released)]
    return _fill("audit.html", audit=found, kinds=kinds, text_of=_text_of, bytes_of=_bytes_of)


def _fill(template: str, **values: object) -> str:
    return fill(template, (_HERE / "audit.css",), _HERE, size=size, counted=counted, dash=NONE, **values)


def _text_of(entry: Entry) -> str:
    """Say what became of an entry, and whether the same turn was done more than once."""
    words = {
        "receipted": "the server has it",
        "withheld": "recorded, then not sent",
        "open": "not confirmed: the run did not end",
        "at fault": "see the findings",
        "refused": f"refused: {entry.code}",
        "received": "came down",
        "noted": "private training, accounted for",
    }[entry.standing]
    again = f" (turn done {entry.times} times)" if entry.times > 1 and entry.event != "received" else ""
    masked = f"masked: readable only as a sum of {entry.masked} sites; " if entry.masked else ""
    return f"{masked}{words}{again}"


def _bytes_of(found: RunAudit, site: str, kind: str) -> int:
    return sum(total.bytes for one in found.sites if one.site == site for total in one.released if total.kind == kind)
