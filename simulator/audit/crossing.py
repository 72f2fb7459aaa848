"""What an audit says of the wire: every byte that crossed a site's door, and what accounts for it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Call(_Frozen):
    """The requests of one sort that a site made, with the bytes of their heads and bodies that were accounted for.

    content: those bytes of the bodies that are released fields
    """

    name: str
    requests: int
    heads: int
    bodies: int
    content: int


class Surplus(_Frozen):
    """Bytes that went up from a site and that nothing accounts for; `why` says what they are not."""

    why: str
    bytes: int


class SiteWire(_Frozen):
    """What crossed the door of one site in a run: `up` is `released` + `framing` + `unexplained`.

    up, down: bytes on the sockets; seconds: how long the site's connections were watched, all deployments together
    released: bytes of fields that are in the site's ledger by their SHA-256
    spared: bytes of such fields that did not cross, since the SuperLink had the same bytes already
    unchecked: of the framing, the bytes whose values nobody can foresee: timestamps, signatures, durations
    bound: the most framing that the stated formula allows; call_bound: the most requests
    fields: released fields that were seen; rows: how many the ledger has; unseen: those of them that never crossed
    code: SHA-256 of each app that came down to be run at the site
    """

    site: str
    connections: int
    seconds: float
    up: int
    down: int
    released: int
    spared: int
    framing: int
    unchecked: int
    unexplained: int
    bound: int
    requests: int
    call_bound: int
    fields: int
    rows: int
    unseen: tuple[str, ...]
    calls: tuple[Call, ...]
    surplus: tuple[Surplus, ...]
    code: tuple[str, ...]


class WireAudit(_Frozen):
    """The wire of a run that was deployed. `apart`: no site had any other way onto a network than its door.

    deployments: how many there were: a run that was stopped and went on has several
    """

    apart: bool
    flwr: str
    deployments: int
    sites: tuple[SiteWire, ...]
