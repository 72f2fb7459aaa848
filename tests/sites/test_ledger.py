"""A ledger goes on where it was cut short, and shows every row that was changed after it was written."""

from __future__ import annotations

import json
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sites.ledger import GENESIS, Ledger, first_broken, mend, read_rows, row_hash

Rows = list[dict[str, Any]]


def release(size: int) -> dict[str, Any]:
    return {"event": "release", "purpose": "learn", "field": "prompt", "bytes": size}


def refusal(code: str = "BUSY") -> dict[str, Any]:
    return {"event": "refusal", "purpose": "learn", "code": code}


@cache
def _text(count: int) -> str:
    with TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.jsonl")
        for size in range(count):
            ledger.append([release(size)])
        return ledger.path.read_text()


def written(count: int) -> Rows:
    """Return the rows of a ledger that a site wrote, one append a row."""
    return [json.loads(line) for line in _text(count).splitlines()]


@contextmanager
def disk_full_after(size: int) -> Iterator[None]:
    """Let no file grow beyond a size, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_the_first_row_follows_nothing_and_each_row_the_one_before(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "sites" / "A" / "ledger.jsonl")
    ledger.append([release(3), release(4)])
    ledger.append([refusal()])
    rows = read_rows(ledger.path)
    assert [row["serial"] for row in rows] == [0, 1, 2]
    assert [row["previous"] for row in rows] == [GENESIS, rows[0]["hash"], rows[1]["hash"]]
    assert first_broken(rows) is None
    assert ledger.bytes_released == 7


def test_a_ledger_goes_on_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    for size in (3, 4, 5):
        Ledger(path).append([release(size), refusal()])
    assert first_broken(read_rows(path)) is None
    assert len(read_rows(path)) == 6
    assert Ledger(path).bytes_released == 12


def test_a_hash_is_the_same_in_every_version() -> None:
    assert row_hash({"serial": 0, "event": "refusal", "hash": "of no account"}) == (
        "c5f15d30e73a392360e1bc9e0fe66e3de070c9670c6849ad11ad843c5d3d0143"
    )


def test_a_ledger_without_rows_is_whole() -> None:
    assert first_broken([]) is None


@given(rows=st.integers(1, 6).map(written), data=st.data())
def test_an_edited_row_is_found(rows: Rows, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(rows) - 1))
    key = data.draw(st.sampled_from(sorted(rows[at])))
    before = rows[at][key]
    rows[at][key] = data.draw(st.none() | st.booleans() | st.integers() | st.text(max_size=64))
    assume(json.dumps(rows[at][key]) != json.dumps(before))
    assert first_broken(rows) == at


@given(rows=st.integers(2, 6).map(written), data=st.data())
def test_an_edited_row_with_its_own_hash_renewed_is_found_at_the_next(rows: Rows, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(rows) - 2))
    rows[at]["bytes"] += data.draw(st.integers(1))
    rows[at]["hash"] = row_hash(rows[at])
    assert first_broken(rows) == at + 1


@given(rows=st.integers(2, 6).map(written), data=st.data())
def test_a_removed_row_is_found(rows: Rows, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(rows) - 2))
    del rows[at]
    assert first_broken(rows) == at


def test_a_chain_that_was_renewed_round_a_missing_row_is_found_by_its_numbers() -> None:
    first, _, third = written(3)
    forged = {**third, "previous": first["hash"]}
    forged["hash"] = row_hash(forged)
    assert first_broken([first, forged]) == 1


@given(rows=st.integers(1, 6).map(written), data=st.data())
def test_an_inserted_row_is_found(rows: Rows, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(rows)))
    previous = rows[at - 1]["hash"] if at else GENESIS
    forged: dict[str, Any] = {"serial": at, **release(1000), "previous": previous}
    forged["hash"] = row_hash(forged)
    rows.insert(at, forged)
    # A row that follows the last one well can only be told from the server's receipts.
    assert first_broken(rows) == (at + 1 if at < len(rows) - 1 else None)


@given(rows=st.integers(2, 6).map(written), data=st.data())
def test_rows_out_of_order_are_found(rows: Rows, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(rows))))
    moved = [position for position, row in enumerate(order) if position != row]
    assert first_broken([rows[row] for row in order]) == (moved[0] if moved else None)


@given(cut=st.integers(1, 400), count=st.integers(1, 3))
def test_a_line_that_was_cut_short_is_dropped_and_the_chain_goes_on(cut: int, count: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.jsonl"
        Ledger(path).append(release(10) for _ in range(count))
        whole = path.read_bytes()
        last = len(whole) - whole[:-1].rfind(b"\n") - 1
        path.write_bytes(whole[: -min(cut, last)])
        ledger = Ledger(path)
        assert ledger.bytes_released == 10 * (count - 1)
        ledger.append([refusal()])
        rows = read_rows(path)
        assert [row["event"] for row in rows] == ["release"] * (count - 1) + ["refusal"]
        assert first_broken(rows) is None


def test_mending_touches_neither_an_absent_nor_an_empty_nor_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    assert mend(path) == []
    assert not path.exists()
    path.touch()
    assert mend(path) == []
    assert path.read_bytes() == b""
    Ledger(path).append([release(1)])
    whole = path.read_bytes()
    assert len(mend(path)) == 1
    assert path.read_bytes() == whole


def test_mending_leaves_nothing_of_a_file_that_is_one_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b'{"serial": 0, "event"')
    assert mend(path) == []
    assert path.read_bytes() == b""


@pytest.mark.parametrize("room", [1, 60, 500])
def test_a_ledger_goes_on_after_the_disk_was_full(room: int, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append([release(10)])
    with disk_full_after(ledger.path.stat().st_size + room), pytest.raises(OSError, match="too large"):
        ledger.append([release(100), release(100), release(100)])
    ledger.append([refusal("SITE_ERROR")])
    rows = read_rows(ledger.path)
    assert first_broken(rows) is None
    assert rows[-1]["event"] == "refusal"
    assert ledger.bytes_released == sum(row["bytes"] for row in rows if row["event"] == "release")


def test_a_row_is_one_line_of_json_whatever_it_holds(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append([refusal("a\nb\u2028c\x0bd")])
    assert [json.loads(line)["code"] for line in ledger.path.read_text().split("\n")[:-1]] == ["a\nb\u2028c\x0bd"]
    assert first_broken(read_rows(ledger.path)) is None
