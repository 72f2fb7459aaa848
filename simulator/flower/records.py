"""Requests and replies as Flower's records, and back."""

from __future__ import annotations

from collections.abc import Mapping

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from simulator.contract import Purpose, Reply, Request
from sites.errors import WireError
from sites.gate import Code
from sites.stream import Turn

# Flower names an action `<category>.<action>`; the category is one of three.
MESSAGE_TYPES: Mapping[Purpose, str] = {
    Purpose.HELLO: "query.hello",
    Purpose.KEYS: "query.keys",
    Purpose.LEARN: "train.learn",
    Purpose.SCORE: "evaluate.score",
}
PURPOSES: Mapping[str, Purpose] = {kind: purpose for purpose, kind in MESSAGE_TYPES.items()}


def from_request(request: Request) -> RecordDict:
    """Return a request's content; its purpose is the message's type."""
    turn = request.turn
    head = ConfigRecord(
        {
            "step": turn.step,
            "round": turn.round,
            "serial": turn.serial,
            "schedule": request.schedule,
            "fingerprint": request.fingerprint,
        }
    )
    return RecordDict({"request": head, "body": _arrays(request.body)})


def to_request(message_type: str, content: RecordDict) -> Request:
    """Return the request in a message. Raises `WireError` where it is none."""
    try:
        head = content.config_records["request"]
        turn = Turn(step=_int(head["step"]), round=_int(head["round"]), serial=_int(head["serial"]))
        return Request(
            purpose=PURPOSES[message_type],
            turn=turn,
            schedule=str(head["schedule"]),
            fingerprint=str(head["fingerprint"]),
            body=_bytes(content.array_records["body"]),
        )
    except (KeyError, TypeError) as error:
        raise WireError("the message is not a request") from error


def from_reply(reply: Reply) -> RecordDict:
    """Return a reply's content: the envelope, which is all that leaves beside the gated body, and the body."""
    head = ConfigRecord({"code": int(reply.code), "site": reply.site, "fingerprint": reply.fingerprint})
    return RecordDict({"reply": head, "body": _arrays(reply.body)})


def to_reply(content: RecordDict) -> Reply:
    """Return the reply in a message. Raises `WireError` where it is none, or holds anything more."""
    try:
        head = content.config_records["reply"]
        if set(content) != {"reply", "body"} or set(head) != {"code", "site", "fingerprint"}:
            raise WireError("the reply has other records than it should")
        return Reply(
            code=Code(_int(head["code"])),
            site=_int(head["site"]),
            fingerprint=str(head["fingerprint"]),
            body=_bytes(content.array_records["body"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise WireError("the message is not a reply") from error


def _arrays(body: Mapping[str, bytes]) -> ArrayRecord:
    """Wrap raw bytes: the manifest, which both ends know, says their dtype and shape."""
    return ArrayRecord(
        {key: Array(dtype="uint8", shape=(len(data),), stype="wardround.raw", data=data) for key, data in body.items()}
    )


def _bytes(record: ArrayRecord) -> dict[str, bytes]:
    return {key: array.data for key, array in record.items()}


def _int(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is no whole number")
    return value
