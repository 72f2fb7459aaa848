"""How the sites of a round agree on masks, where their policies ask for secure aggregation: a site's part of it."""

from __future__ import annotations

from simulator.schedule import Schedule
from sites.aggregation import Masks, NoAgreement, PublicKey, Roster, private_key, public_key
from sites.gate import Code, Refused
from sites.policy import SitePolicy
from sites.secret import Secret
from sites.stream import Turn


def own_key(policy: SitePolicy, secret: Secret | None, turn: Turn) -> PublicKey:
    """Return the public key that a site gives the others of a turn. Raises `Refused` where its policy asks for none."""
    if policy.secure_aggregation is None or secret is None:
        raise Refused(Code.BAD_REQUEST)
    return public_key(private_key(secret, turn))


def agree(
    schedule: Schedule,
    policy: SitePolicy,
    secret: Secret | None,
    turn: Turn,
    *,
    roster: Roster,
    own: int,
    down: str,
) -> Masks:
    """Return a site's masks for a turn; `own` is its place, `down` the digest of what came down to it.

    Raises `Refused`: UNDEFENDED where fewer sites take part than its policy asks for, BAD_REQUEST where the roster has
    not its own key, or says that something else came down.
    """
    asked, summed = policy.secure_aggregation, schedule.strategy.sums(schedule.strategy_config)
    assert asked is not None
    assert summed is not None
    assert secret is not None
    try:
        masks = Masks(private_key(secret, turn), roster, turn, own=own, down=down, weight=summed.weight)
    except NoAgreement as error:
        raise Refused(Code.BAD_REQUEST) from error
    if masks.sites < asked.least:
        raise Refused(Code.UNDEFENDED)
    return masks
