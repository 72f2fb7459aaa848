"""The ways out that the gate leaves open, with the most that each could have carried in a run."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log2

from simulator.audit.model import Channel, Entry, SiteAudit
from sites.gate import Code
from sites.wire import Kind

LIMITS = (
    "Weights can memorise: what left as admitted weights or statistics may hold a patient's image in part or whole.",
    "Timing is visible: how long a site takes, and whether it answers, is seen by the server.",
    "Hostile code inside a strategy is not contained: it may open files and network connections of its own.",
    "Output below Python is not caught: native code that writes to the process's own file descriptors is not logged.",
    "A kind is the strategy's own word for a tensor: the gate checks its name, form and size, not its meaning.",
    "Ledgers and seals of a simulation lie in one run folder: who may rewrite all of it can make them agree.",
)

VALUES = "values"
COUNTS = "counts"
SCORES = "scores"
CODES = "codes"
TIMING = "timing"
CODE = "code"
OUTPUT = "output"


def channels_of(sites: Sequence[SiteAudit]) -> tuple[Channel, ...]:
    """Return the channels of a run. Bits are an upper bound: every bit of every value that left, each turn once.

    Of what was noised no more can be read than a Gaussian channel of that power carries (Shannon, 1949).
    A float32 that is finite takes one of 2^32 - 2^24 patterns, a count that is rounded to u one in u of its own.
    """
    released = [total for site in sites for total in site.released]
    codes = sum(count for site in sites for count in site.refusals.values())
    bits = {
        name: 8 * sum(total.bytes for total in released if _channel(total.kind) == name)
        for name in (VALUES, COUNTS, SCORES)
    }
    saved = sum(_hidden_by_noise(site) for site in sites)
    masked = {name: sum(_hidden_by_masks(site, name) for site in sites) for name in (VALUES, COUNTS)}
    rounding = {site.site: int(site.policy.settings.get("round_counts_to", "1")) for site in sites}
    counted = sum(total.bytes // 8 for site in sites for total in site.released if total.kind is Kind.COUNT)
    unit = min(rounding.values(), default=1)
    told = f"counts, at {64 - log2(unit):.4g} bits each" + (f": rounded to multiples of {unit}" if unit > 1 else "")
    return (
        Channel(
            name=VALUES,
            what="the values of released tensors: whole weights, their low-order bits, the sign of a zero, denormals"
            + ("; less for noise, which holds unless the code at a site reads its secret" if saved else "")
            + ("; of masked uploads their sum alone" if masked[VALUES] else ""),
            bits=bits[VALUES] - saved - masked[VALUES],
        ),
        Channel(name=COUNTS, what=told, bits=max(0, bits[COUNTS] - masked[COUNTS] - ceil(counted * log2(unit)))),
        Channel(
            name=SCORES, what="the scores of held-out cases, through a segmenter fitted at home", bits=bits[SCORES]
        ),
        Channel(
            name=CODES,
            what=f"the code of a refusal, one of {len(Code) - 1}; a refusal stops the run",
            bits=ceil(codes * log2(len(Code) - 1)),
        ),
        Channel(name=TIMING, what="how long a site takes to answer"),
        Channel(name=CODE, what="files and connections that hostile code opens itself"),
        Channel(name=OUTPUT, what="what native code writes to the terminal of the process that a site runs in"),
    )


def _hidden_by_noise(site: SiteAudit) -> int:
    """Return how many of a site's bits no longer carry anything, since noise was added to a bounded change."""
    turns: dict[tuple[int, int], list[Entry]] = {}
    for entry in site.entries:
        noised = entry.noise is not None and entry.masked is None
        if entry.event == "release" and entry.standing != "withheld" and noised:
            turns.setdefault((entry.step, entry.round), []).append(entry)
    hidden = 0
    for entries in turns.values():
        values = sum(entry.bytes - entry.bare for entry in entries) // 4
        noise = max(entry.noise or 0.0 for entry in entries)
        if values:
            hidden += max(0, 32 * values - ceil(values / 2 * log2(1 + 1 / (values * noise**2))))
    return hidden


def _hidden_by_masks(site: SiteAudit, channel: str) -> int:
    """Return how many of a site's bits are its share of what can't be read: of N uploads, all but one sum."""
    return sum(
        8 * entry.bytes - ceil(8 * entry.bytes / entry.masked)
        for entry in site.entries
        if entry.event == "release" and entry.standing != "withheld" and entry.masked and entry.kind is not None
        if _channel(entry.kind) == channel
    )


def _channel(kind: Kind) -> str:
    return {Kind.COUNT: COUNTS, Kind.SCORE: SCORES}.get(kind, VALUES)
