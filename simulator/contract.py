"""What the messages of a schedule look like: built at both ends without data, and compared by fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any

from simulator.schedule import Schedule, from_json
from sites.aggregation import blank_key, blank_roster, masked_manifest
from sites.gate import Code, Refused
from sites.scoring import ScoreRequest, blank_scores
from sites.stream import Turn
from sites.wire import Manifest, Payload, fingerprint, manifest_of, unpack
from strategies.common.segmenter import blank_segmenter


class Purpose(StrEnum):
    """What a site is asked for."""

    HELLO = "hello"
    KEYS = "keys"
    LEARN = "learn"
    SCORE = "score"


@dataclass(frozen=True, kw_only=True)
class Form:
    """A payload's blank with its manifest."""

    blank: Payload
    manifest: Manifest

    def opened(self, body: Mapping[str, bytes]) -> Any:
        """Return the payload that a message holds. Raises `WireError` where it is another."""
        return unpack(self.blank, self.manifest, body)


@dataclass(frozen=True, kw_only=True)
class Contract:
    """What comes down and what may go up for one purpose.

    up: what a site releases; sent: the form in which that crosses the wire, which is another one where it is masked
    roster: of those who are in the sum of masked uploads, which then comes down as well
    """

    down: Form
    up: Form
    roster: Form | None = None

    @property
    def sent(self) -> Form:
        return self.up if self.roster is None else Form(blank=self.up.blank, manifest=masked_manifest(self.up.manifest))

    @property
    def fingerprint(self) -> str:
        roster = self.roster.manifest if self.roster else ()
        return fingerprint(self.down.manifest + roster + self.sent.manifest)

    def parted(self, body: Mapping[str, bytes]) -> tuple[dict[str, bytes], dict[str, bytes]]:
        """Return what came down for the purpose itself, and the roster beside it."""
        listed = {leaf.key for leaf in self.roster.manifest} if self.roster else set()
        return (
            {key: data for key, data in body.items() if key not in listed},
            {key: data for key, data in body.items() if key in listed},
        )


@dataclass(frozen=True, kw_only=True)
class Nothing(Payload):
    """Comes down where a site is only asked."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A message down to a site. `schedule` is the resolved schedule as JSON; `body` the bytes of each leaf."""

    purpose: Purpose
    turn: Turn
    schedule: str
    fingerprint: str
    body: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A message up from a site, and all of its envelope: a code, the site's position in the schedule, a fingerprint.

    The body is empty unless the code is OK.
    """

    code: Code
    site: int
    fingerprint: str
    body: Mapping[str, bytes] = field(default_factory=dict)


class Contracts:
    """The contracts of a schedule's messages, each built once."""

    def __init__(self, schedule: Schedule) -> None:
        strategy, config, setting = schedule.strategy, schedule.strategy_config, schedule.setting
        down = _form(strategy.blank_broadcast(config, setting))
        self._learning = {
            first: Contract(down=down, up=_form(strategy.blank_upload(config, setting, first)))
            for first in (True, False)
        }
        roster, self._sums = _form(blank_roster(len(setting.sites))), strategy.sums(config) is not None
        self._masked = {first: replace(contract, roster=roster) for first, contract in self._learning.items()}
        self._keys = Contract(down=_form(Nothing()), up=_form(blank_key()))
        scores = blank_scores(setting.shape, schedule.config.cases.held_out)
        request = ScoreRequest(segmenter=blank_segmenter(setting))
        self._scoring = Contract(down=_form(request), up=_form(scores))

    def of(self, purpose: Purpose, turn: Turn, *, masked: bool = False) -> Contract:
        """Return the contract of a message that carries a payload; `masked`: the sites' uploads are, as they learn.

        Raises `Refused` where the strategy does not merely sum them.
        """
        if purpose is Purpose.SCORE:
            return self._scoring
        if masked and not self._sums:
            raise Refused(Code.UNDEFENDED)
        if purpose is Purpose.KEYS:
            return self._keys
        return (self._masked if masked else self._learning)[turn.first]


@lru_cache(maxsize=4)
def agreed(schedule_json: str) -> tuple[Schedule, Contracts]:
    """Return a schedule (its resolved settings as JSON) and its contracts, built once in a process."""
    schedule = from_json(schedule_json)
    return schedule, Contracts(schedule)


def _form(blank: Payload) -> Form:
    return Form(blank=blank, manifest=manifest_of(blank))
