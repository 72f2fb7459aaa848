"""What the messages of a schedule look like: built at both ends without data, and compared by fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from simulator.schedule import Schedule, from_json
from sites.gate import Code
from sites.scoring import ScoreRequest, blank_scores
from sites.stream import Turn
from sites.wire import Manifest, Payload, fingerprint, manifest_of
from strategies.common.segmenter import blank_segmenter


class Purpose(StrEnum):
    """What a site is asked for."""

    HELLO = "hello"
    LEARN = "learn"
    SCORE = "score"


@dataclass(frozen=True, kw_only=True)
class Form:
    """A payload's blank with its manifest."""

    blank: Payload
    manifest: Manifest


@dataclass(frozen=True, kw_only=True)
class Contract:
    """What comes down and what may go up for one purpose."""

    down: Form
    up: Form

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.down.manifest + self.up.manifest)


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
        scores = blank_scores(setting.shape, schedule.config.cases.held_out)
        request = ScoreRequest(segmenter=blank_segmenter(setting))
        self._scoring = Contract(down=_form(request), up=_form(scores))

    def of(self, purpose: Purpose, turn: Turn) -> Contract:
        """Return the contract of a message that carries a payload."""
        return self._scoring if purpose is Purpose.SCORE else self._learning[turn.first]


@lru_cache(maxsize=4)
def agreed(schedule_json: str) -> tuple[Schedule, Contracts]:
    """Return a schedule (its resolved settings as JSON) and its contracts, built once in a process."""
    schedule = from_json(schedule_json)
    return schedule, Contracts(schedule)


def _form(blank: Payload) -> Form:
    return Form(blank=blank, manifest=manifest_of(blank))
