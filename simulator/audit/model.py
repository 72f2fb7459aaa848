"""What an audit says, as `audit.json` holds it; schema.py makes audit.schema.json from these models."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from sites.sealing import Fault
from sites.wire import Kind

FORM = 1

Verdict = Literal["passed", "failed"]
What = Literal[
    "ledger",
    "seal",
    "policy",
    "kind",
    "defence",
    "budget",
    "no receipt",
    "no release",
    "differs",
    "twice",
    "unreadable",
    "undeclared",
    "kept",
]
Standing = Literal["receipted", "withheld", "open", "at fault", "refused", "received", "noted"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Finding(_Frozen):
    """Something that must not be. `what` is its sort; `sentence` names it to the byte."""

    site: str
    what: What
    sentence: str
    step: int | None = None
    round: int | None = None
    purpose: str | None = None
    field: str | None = None
    fault: Fault | None = None


class Entry(_Frozen):
    """A release, a refusal, something received, or what private training spent, as the site's ledger has it.

    noise: of a noised release, how much in units of the bound; bare: its bytes without; masked: the sites in its sum
    times: how often the same bytes are recorded; a turn that a resumed run did again is recorded twice
    standing: of a release, whether the server has it (`receipted`), it was held back after it had been recorded
        (`withheld`), a run that did not end waits for its receipt (`open`), or a finding names it (`at fault`)
    """

    event: Literal["release", "refusal", "received", "training"]
    purpose: str
    step: int
    round: int
    field: str | None = None
    kind: Kind | None = None
    bytes: int = 0
    sha256: str | None = None
    code: str | None = None
    noise: float | None = None
    bare: int = 0
    masked: int | None = None
    times: int = 1
    standing: Standing


class Total(_Frozen):
    """How often a kind crossed for a purpose, and its bytes, each turn counted once."""

    purpose: str
    kind: Kind
    count: int
    bytes: int


class Policy(_Frozen):
    """The site's policy as its file has it."""

    admit: tuple[Kind, ...]
    settings: dict[str, str]


class PrivacySpent(_Frozen):
    """What private training cost over all arrivals: epsilon at a delta; `patients`: the fewest of an arrival."""

    epsilon: float
    delta: float
    iterations: int
    patients: int


class Kept(_Frozen):
    """A group of tensors that a site keeps in its vault."""

    group: str
    tensors: int
    bytes: int


class SiteAudit(_Frozen):
    """All about one site. `sealed` says whether its ledger was sealed; `head` is the hash of its last row.

    defences: a sentence or more for each defence that its policy had in force; spent: what private training cost
    older: bytes of the version of the vault before the newest, which a repeated turn starts from
    strange: files in the site's folder that the software did not make
    """

    site: str
    policy: Policy
    defences: tuple[str, ...]
    spent: PrivacySpent | None
    entries: tuple[Entry, ...]
    released: tuple[Total, ...]
    received: tuple[Total, ...]
    refusals: dict[str, int]
    rows: int
    head: str
    sealed: bool
    kept: tuple[Kept, ...]
    older: int
    strange: tuple[str, ...]
    findings: tuple[Finding, ...]


class Channel(_Frozen):
    """A way out that the gate does not close; `bits` is the most that it could have carried, None where untold."""

    name: str
    what: str
    bits: int | None = None


class RunAudit(_Frozen):
    """The audit of a run. `outside`: kinds that left and that the shipped default policy would have held back.

    seal: SHA-256 of the server's copy of the seals, "" in a run that did not end; whoever notes it down can tell later
        whether ledgers and seals were rewritten together
    """

    form: Literal["run"] = "run"
    version: int = FORM
    wardround: str
    run: str
    name: str
    task: str
    strategy: str
    seed: int
    started: str
    complete: bool
    verdict: Verdict
    sentences: tuple[str, ...]
    outside: tuple[Kind, ...]
    seal: str
    sites: tuple[SiteAudit, ...]
    findings: tuple[Finding, ...]
    channels: tuple[Channel, ...]
    limits: tuple[str, ...]


class Leaving(_Frozen):
    """A field that would leave a site: its bytes in the first turn of a run that learns, and in later ones."""

    purpose: str
    field: str
    kind: Kind
    first: int
    later: int


class PlannedSite(_Frozen):
    """A site of a schedule, the name of its policy, what that admits, and what it would refuse.

    defences: a sentence for each defence that it asks for; undefended: why the strategy can't keep to one, or ""
    """

    site: str
    policy: str
    admit: tuple[Kind, ...]
    refused: tuple[Kind, ...]
    defences: tuple[str, ...]
    undefended: str


class PlanAudit(_Frozen):
    """The audit of a schedule that has not run."""

    form: Literal["plan"] = "plan"
    version: int = FORM
    wardround: str
    name: str
    task: str
    strategy: str
    seed: int
    verdict: Verdict
    sentences: tuple[str, ...]
    outside: tuple[Kind, ...]
    leaving: tuple[Leaving, ...]
    sites: tuple[PlannedSite, ...]
    limits: tuple[str, ...]


class Trial(_Frozen):
    """A trial of a bench; `audit` is None where it left no run folder, and `reason` says why."""

    trial: str
    schedule: str
    strategy: str
    order: str
    seed: int
    status: Literal["done", "failed", "missing"]
    reason: str
    audit: RunAudit | None


class Compared(_Frozen):
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


class BenchAudit(_Frozen):
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
