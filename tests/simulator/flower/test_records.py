"""Requests and replies survive Flower's records, and a record with anything more in it is refused."""

from __future__ import annotations

import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from simulator.contract import Purpose, Reply, Request
from simulator.flower.records import MESSAGE_TYPES, from_reply, from_request, to_reply, to_request
from sites.errors import WireError
from sites.gate import Code
from sites.stream import Turn

REQUEST = Request(
    purpose=Purpose.LEARN,
    turn=Turn(step=2, round=3, serial=7),
    schedule='{"name": "x"}',
    fingerprint="0123",
    body={"segmenter/a": b"\x00\x01", "empty": b""},
)
REPLY = Reply(code=Code.OK, site=1, fingerprint="0123", body={"segmenter/a": b"\x00\x01"})


@pytest.mark.parametrize("purpose", list(Purpose))
def test_every_purpose_has_a_message_type_of_flowers_own_form(purpose: Purpose) -> None:
    assert MESSAGE_TYPES[purpose].split(".")[0] in {"train", "evaluate", "query"}


def test_a_request_comes_back_as_it_was() -> None:
    assert to_request("train.learn", from_request(REQUEST)) == REQUEST


def test_a_reply_comes_back_as_it_was() -> None:
    assert to_reply(from_reply(REPLY)) == REPLY


def test_a_message_that_is_no_request_is_refused() -> None:
    with pytest.raises(WireError):
        to_request("train.learn", RecordDict())
    with pytest.raises(WireError):
        to_request("train.steal", from_request(REQUEST))


def test_a_reply_with_another_record_is_refused() -> None:
    record = from_reply(REPLY)
    record["notes"] = ConfigRecord({"patient": "Jane"})
    with pytest.raises(WireError):
        to_reply(record)


def test_a_reply_with_another_field_in_its_envelope_is_refused() -> None:
    record = from_reply(REPLY)
    record.config_records["reply"]["patient"] = "Jane"
    with pytest.raises(WireError):
        to_reply(record)


def test_a_code_outside_the_closed_set_is_refused() -> None:
    record = from_reply(REPLY)
    record.config_records["reply"]["code"] = 99
    with pytest.raises(WireError):
        to_reply(record)


def test_flowers_count_of_the_bytes_is_the_bodys() -> None:
    record = ArrayRecord({"a": Array(dtype="uint8", shape=(2,), stype="wardround.raw", data=b"ab")})
    assert record.count_bytes() >= 2
