"""What an audit of a run or a plan says, as `audit.json` holds it; schema.py makes audit.schema.json of the models."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from simulator.audit.crossing import WireAudit
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
    "wire",
]
Standing = Literal["receipted", "withheld", "open", "at fault", "refused", "received", "noted"]


class Frozen(BaseModel):
    """What all parts of an audit are."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Finding(Frozen):
    """Something that must not be. `what` is its sort; `sentence` names it to the byte."""

    site: str
    what: What
    sentence: str
    step: int | None = None
    round: int | None = None
    purpose: str | None = None
    field: str | None = None
    fault: Fault | None = None


class Entry(Frozen):
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


class Total(Frozen):
    """How often a kind crossed for a purpose, and its bytes, each turn counted once."""

    purpose: str
    kind: Kind
    count: int
    bytes: int


class Policy(Frozen):
    """The site's policy as its file has it."""

    admit: tuple[Kind, ...]
    settings: dict[str, str]


class PrivacySpent(Frozen):
    """What private training cost over all arrivals: epsilon at a delta; `patients`: the fewest of an arrival."""

    epsilon: float
    delta: float
    iterations: int
    patients: int


class Kept(Frozen):
    """A group of tensors that a site keeps in its vault."""

    group: str
    tensors: int
    bytes: int


class SiteAudit(Frozen):
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


class Channel(Frozen):
    """A way out that the gate does not close; `bits` is the most that it could have carried, None where untold."""

    name: str
    what: str
    bits: int | None = None


class RunAudit(Frozen):
    """The audit of a run. `outside`: kinds that left and that the shipped default policy would have held back.

    wire: what crossed the wire of a run that was deployed; None where its sites ran beside the server

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
    wire: WireAudit | None
    findings: tuple[Finding, ...]
    channels: tuple[Channel, ...]
    limits: tuple[str, ...]


class Leaving(Frozen):
    """A field that would leave a site: its bytes in the first turn of a run that learns, and in later ones."""

    purpose: str
    field: str
    kind: Kind
    first: int
    later: int


class PlannedSite(Frozen):
    """A site of a schedule, the name of its policy, what that admits, and what it would refuse.

    defences: a sentence for each defence that it asks for; undefended: why the strategy can't keep to one, or ""
    """

    site: str
    policy: str
    admit: tuple[Kind, ...]
    refused: tuple[Kind, ...]
    defences: tuple[str, ...]
    undefended: str


class PlanAudit(Frozen):
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
