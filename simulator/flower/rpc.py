"""Flower's Fleet API as it crosses the wire: the messages of each path, and what may stand in a request's head."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from flwr.proto.fab_pb2 import GetFabRequest, GetFabResponse
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    ActivateNodeResponse,
    DeactivateNodeRequest,
    DeactivateNodeResponse,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
    PushMessagesResponse,
    RegisterNodeFleetRequest,
    RegisterNodeFleetResponse,
    UnregisterNodeFleetRequest,
    UnregisterNodeFleetResponse,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest, SendNodeHeartbeatResponse
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ConfirmMessageReceivedResponse,
    PullObjectRequest,
    PullObjectResponse,
    PushObjectRequest,
    PushObjectResponse,
)
from flwr.proto.run_pb2 import GetRunRequest, GetRunResponse
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, verify_signature
from google.protobuf.message import DecodeError, Message

from simulator.flower.capture import HttpMessage

PREFIX = "/v1/fleet/"
CALLS: Mapping[str, tuple[type[Message], type[Message]]] = {
    "register-node": (RegisterNodeFleetRequest, RegisterNodeFleetResponse),
    "activate-node": (ActivateNodeRequest, ActivateNodeResponse),
    "deactivate-node": (DeactivateNodeRequest, DeactivateNodeResponse),
    "unregister-node": (UnregisterNodeFleetRequest, UnregisterNodeFleetResponse),
    "send-node-heartbeat": (SendNodeHeartbeatRequest, SendNodeHeartbeatResponse),
    "pull-messages": (PullMessagesRequest, PullMessagesResponse),
    "push-messages": (PushMessagesRequest, PushMessagesResponse),
    "get-run": (GetRunRequest, GetRunResponse),
    "get-fab": (GetFabRequest, GetFabResponse),
    "push-object": (PushObjectRequest, PushObjectResponse),
    "pull-object": (PullObjectRequest, PullObjectResponse),
    "confirm-message-received": (ConfirmMessageReceivedRequest, ConfirmMessageReceivedResponse),
}
KEY, TIMESTAMP, SIGNATURE = b"flwr-public-key", b"flwr-timestamp", b"flwr-signature"
FORMS: Mapping[bytes, re.Pattern[bytes]] = {
    b"host": re.compile(rb"127\.0\.0\.1:\d{1,5}"),
    b"accept-encoding": re.compile(rb"gzip, deflate(, br)?(, zstd)?"),
    b"connection": re.compile(rb"keep-alive"),
    b"user-agent": re.compile(rb"python-httpx/\d{1,3}(\.\d{1,3}){2}"),
    b"content-type": re.compile(rb"application/protobuf"),
    b"accept": re.compile(rb"application/protobuf"),
    b"content-length": re.compile(rb"0|[1-9]\d{0,10}"),
    b"flwr-package-name": re.compile(rb"flwr"),
    b"flwr-package-version": re.compile(rb"\d{1,3}(\.\d{1,3}){2}"),
    b"flwr-component-name": re.compile(rb"SuperNode"),
    KEY: re.compile(rb"[A-Za-z0-9+/]{280,320}={0,2}"),
    TIMESTAMP: re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?\+00:00"),
    SIGNATURE: re.compile(rb"[A-Za-z0-9+/]{100,150}={0,2}"),
}
OWN_TO_EACH = (b"content-length", TIMESTAMP, SIGNATURE)
CLOCK_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Head:
    """What heads of one SuperNode have in common; the first one sets it."""

    headers: tuple[tuple[bytes, bytes], ...]
    key: bytes

    @classmethod
    def of(cls, message: HttpMessage) -> Head:
        values = {name.lower(): value for name, value in message.headers}
        same = tuple((name, value) for name, value in message.headers if name.lower() not in OWN_TO_EACH)
        return cls(headers=same, key=values.get(KEY, b""))


def call_of(message: HttpMessage) -> str:
    """Return which call a request makes, or "" where it is none of Flower's."""
    name = message.target.removeprefix(PREFIX)
    return name if message.target.startswith(PREFIX) and name in CALLS else ""


def fault_in_head(message: HttpMessage, first: Head | None, opened: float, closed: float) -> str:
    """Return what is wrong with the head of a request, or "" where it says nothing of its own.

    first: what the SuperNode's heads have in common; its own, where this is the first one
    opened, closed: when the connection was, in seconds since the epoch
    """
    values = {name.lower(): value for name, value in message.headers}
    if len(values) != len(message.headers) or values.keys() != FORMS.keys():
        return "a request with other headers than Flower's"
    if any(not form.fullmatch(values[name]) for name, form in FORMS.items()):
        return "a header of another form than Flower's"
    if first is not None and Head.of(message) != first:
        return "headers that change from one request to another"
    if not opened - CLOCK_SECONDS <= _time(values[TIMESTAMP]) <= closed + CLOCK_SECONDS:
        return "a timestamp of another time"
    if not _signed(values):
        return "a signature that is none"
    return ""


def _time(stamp: bytes) -> float:
    """Return a timestamp in seconds since the epoch; NaN where there is no such time."""
    try:
        return datetime.fromisoformat(stamp.decode()).timestamp()
    except ValueError:
        return float("nan")


def _signed(values: Mapping[bytes, bytes]) -> bool:
    try:
        key = bytes_to_public_key(base64.b64decode(values[KEY], validate=True))
        return verify_signature(key, values[TIMESTAMP], base64.b64decode(values[SIGNATURE], validate=True))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False


def read_body(kind: type[Message], body: bytes) -> Message | None:
    """Return the message of a body, or None where it is not exactly what such a message is written as."""
    message = kind()
    try:
        message.ParseFromString(body)
    except DecodeError:
        return None
    plain = kind()
    plain.CopyFrom(message)
    plain.DiscardUnknownFields()
    return message if plain.SerializeToString(deterministic=True) == body else None


def values_in(message: Message) -> Iterator[object]:
    """Yield every number, text and run of bytes in a message, however deep."""
    for _, value in message.ListFields():
        yield from _values(value)


def _values(value: Any) -> Iterator[object]:
    if isinstance(value, Message):
        yield from values_in(value)
    elif isinstance(value, str | bytes | int | float):
        yield value
    elif hasattr(value, "items"):
        for key, item in value.items():
            yield key
            yield from _values(item)
    else:
        for item in value:
            yield from _values(item)
