"""Audits a bench: each of its trials as a run, and the strategies side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from simulator.audit.auditing import audit_run
from simulator.audit.bench_model import BenchAudit, Compared, Trial
from simulator.audit.channels import LIMITS
from simulator.audit.model import RunAudit
from simulator.audit.protections import short_names
from simulator.bench.store import BenchStore, Planned
from simulator.report.words import counted, listed
from simulator.store import versions
from sites.wire import Kind


def audit_bench(root: Path) -> BenchAudit:
    """Audit a bench folder. Raises `UserError` where it is none, or where the folder of a trial lacks a file."""
    store = BenchStore(root)
    trials = tuple(_trial(store, planned) for planned in store.planned)
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        groups.setdefault((trial.schedule, trial.strategy), []).append(trial)
    compared = tuple(_compared(group) for group in groups.values())
    failed = any(trial.audit and trial.audit.verdict == "failed" for trial in trials)
    return BenchAudit(
        wardround=versions().get("wardround", "unknown"),
        name=str(store.plan["suite"]),
        verdict="failed" if failed else "passed",
        sentences=_sentences(trials, compared),
        compared=compared,
        trials=trials,
        limits=LIMITS,
    )


def _trial(store: BenchStore, planned: Planned) -> Trial:
    ending, root = store.ending(planned.trial), store.trial_root(planned.trial)
    there, added = (root / "config.yaml").exists(), ending.status == "added"
    return Trial(
        trial=planned.trial,
        schedule=planned.schedule,
        strategy=planned.strategy,
        order=planned.order,
        seed=planned.seed,
        status=ending.status,
        reason=ending.reason or ("" if there else f"it was {'measured elsewhere' if added else 'not run'}"),
        audit=audit_run(root) if there else None,
    )


def _compared(trials: Sequence[Trial]) -> Compared:
    audits = [trial.audit for trial in trials if trial.audit]
    sums = [_released(audit) for audit in audits]
    kinds = [kind for kind in Kind if any(kind in one for one in sums)]
    outside = {kind for audit in audits for kind in audit.outside}
    return Compared(
        schedule=trials[0].schedule,
        strategy=trials[0].strategy,
        trials=len(trials),
        audited=len(audits),
        released={kind: _mean(one.get(kind, 0) for one in sums) for kind in kinds},
        received=_mean(sum(total.bytes for site in audit.sites for total in site.received) for audit in audits),
        kept=max((sum(one.bytes for site in audit.sites for one in site.kept) for audit in audits), default=0),
        refusals=sum(count for audit in audits for site in audit.sites for count in site.refusals.values()),
        findings=sum(len(audit.findings) for audit in audits),
        outside=tuple(kind for kind in Kind if kind in outside),
        defences=short_names([site for audit in audits for site in audit.sites]),
    )


def _released(audit: RunAudit) -> dict[Kind, int]:
    found: dict[Kind, int] = {}
    for total in (total for site in audit.sites for total in site.released):
        found[total.kind] = found.get(total.kind, 0) + total.bytes
    return found


def _mean(values: Iterable[int]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0


def _sentences(trials: Sequence[Trial], compared: Sequence[Compared]) -> tuple[str, ...]:
    """Return the verdict: what failed, and which strategies the default policy would have refused."""
    audited = [trial for trial in trials if trial.audit]
    failed = [trial for trial in audited if trial.audit and trial.audit.verdict == "failed"]
    refused = list(dict.fromkeys(one.strategy for one in compared if one.outside))
    warning = f", but the default policy would have refused {listed(refused)}" if refused else ""
    opening = (
        f"This audit failed: {counted(len(failed), 'trial')} of {len(audited)} audited "
        f"{'has' if len(failed) == 1 else 'have'} findings, each named below."
        if failed
        else f"This audit passed: in all {counted(len(audited), 'trial')} what left is accounted for and admitted by "
        f"the sites' own policies{warning}."
    )
    found = [opening]
    for strategy in refused:
        kinds = {kind for one in compared if one.strategy == strategy for kind in one.outside}
        held = listed([kind for kind in Kind if kind in kinds])
        found.append(f"The default policy refuses {strategy}: its sites let {held} out under a policy of their own.")
    left = len(trials) - len(audited)
    if left:
        found.append(f"{counted(left, 'trial')} of {len(trials)} left no run folder to audit.")
    return tuple(found)
