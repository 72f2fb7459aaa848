"""The literal set of what leaves a site, and of what comes down to it: a change here is a line in CHANGELOG.md.

`frozen_wire/<strategy>.txt` holds a line for each tensor that a strategy releases on a tiny schedule: its kind, its
dtype and shape, its name, and whether it leaves in the first turn of a run alone. `frozen_wire/down/<strategy>.txt`
holds the same of what a site is sent to learn with, which may tell it of the sites before.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from simulator.contract import Contracts, Purpose, Reply, Request
from simulator.flower.records import from_reply, from_request
from simulator.schedule import read_schedule
from sites.gate import Code
from sites.stream import Turn
from sites.wire import Manifest
from strategies import STRATEGY_FILES

FROZEN = Path(__file__).parent / "frozen_wire"
FIRST, LATER = Turn(step=1, round=1, serial=1), Turn(step=2, round=1, serial=3)


def literal(manifest: Manifest) -> list[str]:
    return [f"{leaf.kind} {leaf.dtype}{list(leaf.shape)} {leaf.key}" for leaf in manifest]


def test_every_strategy_is_frozen() -> None:
    assert {path.stem for path in FROZEN.glob("*.txt")} == {*STRATEGY_FILES, "scoring", "masked"}
    assert {path.stem for path in (FROZEN / "down").glob("*.txt")} == {*STRATEGY_FILES, "scoring"}


@pytest.mark.parametrize("name", STRATEGY_FILES)
def test_a_strategy_releases_and_receives_this_and_nothing_else(
    name: str, tiny: Callable[..., Path], small: Callable[[str], dict[str, object]]
) -> None:
    contracts = Contracts(read_schedule(tiny(strategy=small(name))))
    first, later = (literal(contracts.of(Purpose.LEARN, turn).up.manifest) for turn in (FIRST, LATER))
    assert set(later) <= set(first)
    found = [line if line in later else f"{line} (first turn alone)" for line in first]
    assert found == (FROZEN / f"{name}.txt").read_text().splitlines()
    down_first, down = (literal(contracts.of(Purpose.LEARN, turn).down.manifest) for turn in (FIRST, LATER))
    assert down_first == down == (FROZEN / "down" / f"{name}.txt").read_text().splitlines()


def test_scoring_releases_and_receives_this_and_nothing_else(tiny: Callable[..., Path]) -> None:
    contract = Contracts(read_schedule(tiny())).of(Purpose.SCORE, LATER)
    assert literal(contract.up.manifest) == (FROZEN / "scoring.txt").read_text().splitlines()
    assert literal(contract.down.manifest) == (FROZEN / "down" / "scoring.txt").read_text().splitlines()


def test_under_masks_the_same_leaves_in_other_numbers_and_a_key_before_it(tiny: Callable[..., Path]) -> None:
    """Secure aggregation, for whichever strategy sums: nothing of what it releases but the dtype is another."""
    contracts = Contracts(read_schedule(tiny(strategy="fedavg")))
    contract, keys = (contracts.of(purpose, LATER, masked=True) for purpose in (Purpose.LEARN, Purpose.KEYS))
    found = literal(keys.sent.manifest) + literal(contract.sent.manifest)
    assert found == (FROZEN / "masked.txt").read_text().splitlines()
    plain = [(leaf.kind, leaf.shape, leaf.key) for leaf in contracts.of(Purpose.LEARN, LATER).up.manifest]
    assert [(leaf.kind, leaf.shape, leaf.key) for leaf in contract.sent.manifest] == plain
    assert keys.down.manifest == ()
    assert contract.roster is not None
    assert literal(contract.roster.manifest) == ["key uint8[2, 32] roster_keys", "key uint8[2, 32] roster_downs"]


def test_the_envelope_of_a_request_is_this_and_nothing_else() -> None:
    request = Request(purpose=Purpose.LEARN, turn=LATER, schedule="{}", fingerprint="0123456789abcdef", body={})
    record = from_request(request)
    head = {"step": 2, "round": 1, "serial": 3, "schedule": "{}", "fingerprint": "0123456789abcdef"}
    assert dict(record.config_records["request"]) == head
    assert set(record) == {"request", "body"}


def test_the_envelope_of_a_reply_is_this_and_nothing_else() -> None:
    record = from_reply(Reply(code=Code.OK, site=3, fingerprint="0123456789abcdef", body={"cases": b"12345678"}))
    assert dict(record.config_records["reply"]) == {"code": 0, "site": 3, "fingerprint": "0123456789abcdef"}
    assert set(record) == {"reply", "body"}
    assert {key: array.data for key, array in record.array_records["body"].items()} == {"cases": b"12345678"}
