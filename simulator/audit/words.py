"""Says in plain words what an audit found: for those who decide, not for those who programmed it."""

from __future__ import annotations

from collections.abc import Sequence

from simulator.audit.model import Finding, SiteAudit
from simulator.audit.protections import sentence_of
from simulator.contract import Purpose
from simulator.report.words import counted, listed, size
from sites.wire import Kind

BARE = (Kind.IMAGE, Kind.LABEL)
PLAIN = {
    Kind.PROMPT: "prompts",
    Kind.DIFFUSION: "weights of an image generator",
    Kind.GENERATOR: "weights of an image generator other than by diffusion",
    Kind.SEGMENTER: "weights of a segmentation network",
    Kind.GRADIENT: "gradients",
    Kind.STATISTIC: "statistics",
    Kind.COUNT: "numbers of cases",
    Kind.SCORE: "scores",
    Kind.IMAGE: "images of patients",
    Kind.LABEL: "outlines drawn on images of patients",
    Kind.KEY: "public keys",
}


def sentences_of(
    sites: Sequence[SiteAudit], findings: Sequence[Finding], *, complete: bool, declared: bool
) -> tuple[str, ...]:
    """Return the verdict, sentence by sentence; the first one stands for all of it."""
    kinds = {total.kind for site in sites for total in site.released}
    bare = [PLAIN[kind] for kind in BARE if kind in kinds]
    found = [_bare(bare), _released(sites), sentence_of(sites), _agree(sites, findings), _refused(sites), _kept(sites)]
    if not complete:
        found.append("The run did not end: this is how things stood, and no ledger is sealed.")
    if not declared:
        found.append("The method or its data source is not at hand here: what it declares was not compared.")
    found.append("What the released weights may give away about patients is another question; see the limits.")
    return (_opening(findings, bare), *(sentence for sentence in found if sentence))


def _opening(findings: Sequence[Finding], bare: Sequence[str]) -> str:
    if findings:
        return f"This audit failed: {counted(len(findings), 'finding')}, each named below."
    warning = f", but {listed(bare)} left hospitals because their policies say that they may" if bare else ""
    return f"This audit passed: all that left is accounted for and admitted{warning}."


def _bare(bare: Sequence[str]) -> str:
    return "" if bare else "Nothing left that was declared to be an image of a patient or an outline drawn on one."


def _released(sites: Sequence[SiteAudit]) -> str:
    learnt = [total for site in sites for total in site.released if total.purpose == Purpose.LEARN]
    if not any(site.released for site in sites):
        return "Nothing left any hospital."
    scored = sum(total.bytes for site in sites for total in site.released if total.purpose == Purpose.SCORE)
    kinds = listed([PLAIN[kind] for kind in Kind if kind in {total.kind for total in learnt}] or ["nothing"])
    givers = sum(any(total.purpose == Purpose.LEARN for total in site.released) for site in sites)
    share = f"{counted(givers, 'hospital')} of {len(sites)} gave {kinds} ({size(sum(t.bytes for t in learnt))})"
    return f"{share} for learning; scores took {size(scored)}."


def _agree(sites: Sequence[SiteAudit], findings: Sequence[Finding]) -> str:
    if findings:
        return ""
    releases = sum(entry.event == "release" for site in sites for entry in site.entries)
    sealed = all(site.sealed for site in sites)
    agree = f"{counted(releases, 'release')} in the hospitals' own ledgers agree{'s' if releases == 1 else ''}"
    unchanged = ", and no ledger was changed since the run ended" if sealed else ""
    return f"{agree} with what the server says it received{unchanged}."


def _refused(sites: Sequence[SiteAudit]) -> str:
    count = sum(sum(site.refusals.values()) for site in sites)
    return f"The gates refused {counted(count, 'request')}." if count else ""


def _kept(sites: Sequence[SiteAudit]) -> str:
    keeping = [site for site in sites if site.kept]
    if not keeping:
        return "No hospital keeps anything on its disk for the method."
    total = sum(group.bytes for site in keeping for group in site.kept)
    keep = "keeps" if len(keeping) == 1 else "keep"
    return f"{counted(len(keeping), 'hospital')} {keep} {size(total)} at home for the method."
