"""What the audit of a bench says, as its `audit.json` holds it."""

from __future__ import annotations

from typing import Literal

from simulator.audit.model import FORM, Frozen, RunAudit, Verdict
from sites.wire import Kind


class Trial(Frozen):
    """A trial of a bench; `audit` is None where it left no run folder, and `reason` says why."""

    trial: str
    schedule: str
    strategy: str
    order: str
    seed: int
    status: Literal["done", "added", "failed", "missing"]
    reason: str
    audit: RunAudit | None


class Compared(Frozen):
    """A strategy of a bench under one schedule, over its trials: the mean bytes that left a trial, by kind.

    kept: the most bytes that its sites kept in their vaults at the end of a trial
    outside: kinds that the shipped default policy would have held back
    defences: names of those that any site had in force, with the largest epsilon
    """

    schedule: str
    strategy: str
    trials: int
    audited: int
    released: dict[Kind, float]
    received: float
    kept: int
    refusals: int
    findings: int
    outside: tuple[Kind, ...]
    defences: tuple[str, ...]


class BenchAudit(Frozen):
    """The audit of a bench: strategies side by side, and every trial."""

    form: Literal["bench"] = "bench"
    version: int = FORM
    wardround: str
    name: str
    verdict: Verdict
    sentences: tuple[str, ...]
    compared: tuple[Compared, ...]
    trials: tuple[Trial, ...]
    limits: tuple[str, ...]
