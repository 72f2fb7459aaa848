"""A sealed ledger shows every row that was edited, removed, added or moved, and says which."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sites.ledger import GENESIS, Ledger, row_hash
from sites.sealing import Seal, faults_in, seal_of

COUNTS = st.integers(min_value=2, max_value=12)


@cache
def lines(count: int) -> tuple[str, ...]:
    with TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.jsonl")
        ledger.append({"event": "release", "field": f"field {row}", "bytes": row} for row in range(count))
        return tuple(ledger.path.read_text().splitlines(keepends=True))


def hashes(count: int) -> list[str]:
    return [json.loads(line)["hash"] for line in lines(count)]


def rechained(rows: list[dict[str, object]]) -> str:
    """Write rows as one would who knows how a ledger is made."""
    text, previous = "", GENESIS
    for serial, row in enumerate(rows):
        chained = {**row, "serial": serial, "previous": previous}
        chained["hash"] = previous = row_hash(chained)
        text += json.dumps(chained) + "\n"
    return text


def said(text: str, sealed: list[str] | None) -> list[str]:
    return [str(fault) for fault in faults_in(text, sealed)]


def test_a_seal_is_the_hash_of_every_row_and_of_the_policy(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").write_text("".join(lines(3)))
    seal = seal_of(tmp_path / "ledger.jsonl", tmp_path / "policy.yaml")
    assert seal == Seal(rows=3, head=hashes(3)[-1], hashes=tuple(hashes(3)), policy="")
    assert seal_of(tmp_path / "none", tmp_path / "none").head == GENESIS


@given(COUNTS)
def test_a_ledger_that_nobody_touched_has_no_fault(count: int) -> None:
    assert faults_in("".join(lines(count)), hashes(count)) == faults_in("".join(lines(count))) == ()
    assert faults_in("", []) == faults_in("") == ()


@given(COUNTS, st.data())
def test_an_edited_row_is_named(count: int, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, count - 1))
    key = data.draw(st.sampled_from(sorted(json.loads(lines(count)[row]))))
    value = data.draw(st.one_of(st.integers(), st.text(), st.none(), st.lists(st.integers())))
    changed = json.loads(lines(count)[row])
    assume(changed[key] != value or type(changed[key]) is not type(value))
    rows = [*lines(count)]
    rows[row] = json.dumps({**changed, key: value}) + "\n"
    assert said("".join(rows), hashes(count)) == [f"row {row} was edited"]
    assert faults_in("".join(rows)) or row == count - 1


@given(COUNTS, st.data())
def test_a_row_rewritten_with_its_hashes_is_named_by_the_seal(count: int, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, count - 1))
    rows = [json.loads(line) for line in lines(count)]
    rows[row]["bytes"] = -1
    text = rechained(rows)
    assert faults_in(text) == ()
    last = f"row {row} was edited" if row == count - 1 else f"rows {row} to {count - 1} were edited"
    assert said(text, hashes(count)) == [last]


@given(COUNTS, st.data())
def test_removed_rows_are_named(count: int, data: st.DataObject) -> None:
    gone = sorted(data.draw(st.sets(st.integers(0, count - 2), min_size=1)))
    left = "".join(line for row, line in enumerate(lines(count)) if row not in gone)
    for sealed in (hashes(count), None):
        faults = faults_in(left, sealed)
        assert {fault.what for fault in faults} == {"removed"}
        assert [row for fault in faults for row in range(fault.first, fault.last + 1)] == gone


@given(COUNTS, st.data())
def test_a_tail_that_was_cut_off_is_named_by_the_seal(count: int, data: st.DataObject) -> None:
    kept = data.draw(st.integers(0, count - 1))
    (fault,) = faults_in("".join(lines(count)[:kept]), hashes(count))
    assert (fault.what, fault.first, fault.last) == ("cut off", kept, count - 1)


@given(COUNTS, st.data())
def test_an_added_line_is_named(count: int, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, count))
    copy = data.draw(st.integers(0, count - 1))
    added = data.draw(st.sampled_from([lines(count)[copy], '{"serial": 99}\n', "nothing\n", "[" * 9000 + "\n", "\n"]))
    text = "".join([*lines(count)[:place], added, *lines(count)[place:]])
    for sealed in (hashes(count), None):
        faults = faults_in(text, sealed)
        # Of two equal lines either may be the one that was added.
        assert [fault.what for fault in faults] == ["added"] or (added in lines(count) and faults)
        if added not in lines(count):
            assert faults[0].line == place + 1


@given(COUNTS, st.data())
def test_moved_rows_are_named(count: int, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(count)))
    assume(order != list(range(count)))
    for sealed in (hashes(count), None):
        faults = faults_in("".join(lines(count)[row] for row in order), sealed)
        assert {fault.what for fault in faults} == {"moved"}
        assert all(order[fault.line - 1] == fault.first for fault in faults)
        stayed = [row for row in order if row not in {fault.first for fault in faults}]
        assert stayed == sorted(stayed)


@given(COUNTS, st.data())
def test_no_change_of_a_character_goes_unseen(count: int, data: st.DataObject) -> None:
    text = "".join(lines(count))
    place = data.draw(st.integers(0, len(text) - 1))
    changed = text[:place] + data.draw(st.characters()) + text[place + 1 :]
    same = [_parsed(line) for line in changed.split("\n")] == [_parsed(line) for line in text.split("\n")]
    assert bool(faults_in(changed, hashes(count))) != same


def test_a_last_row_without_its_end_was_edited() -> None:
    text = "".join(lines(3))
    for end in ("", " "):
        (fault,) = faults_in(text[:-1] + end, hashes(3))
        assert str(fault) == "row 2 was edited"


def _parsed(line: str) -> object:
    try:
        return json.dumps(json.loads(line))
    except ValueError:
        return line


@given(COUNTS, st.data())
def test_several_changes_at_once_never_go_unseen(count: int, data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.sampled_from([*lines(count), "{}\n"]), max_size=count + 3))
    assume(rows != [*lines(count)])
    assert faults_in("".join(rows), hashes(count))


def test_a_row_removed_before_the_sealing_shows_in_the_chain() -> None:
    left = [line for row, line in enumerate(lines(5)) if row != 2]
    assert said("".join(left), [json.loads(line)["hash"] for line in left]) == ["row 2 was removed"]


@pytest.mark.parametrize("sealed", [hashes(6), None])
def test_an_edit_beside_a_removal_is_told_from_it(sealed: list[str] | None) -> None:
    rows = [*lines(6)]
    rows[3] = rows[3].replace('"bytes": 3', '"bytes": 4')
    del rows[2]
    assert said("".join(rows), sealed) == ["row 2 was removed", "row 3 was edited"]


def test_an_unfinished_line_is_a_kill_in_a_run_that_goes_on_and_a_fault_in_one_that_ended() -> None:
    text = "".join(lines(3)) + '{"serial": 3, "ev'
    assert faults_in(text) == ()
    assert said(text, hashes(3)) == ["line 4 was added"]
