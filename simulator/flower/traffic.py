"""What one site and the SuperLink said to each other in one deployment, request by request."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flwr.proto.fab_pb2 import GetFabResponse
from flwr.proto.message_pb2 import PullObjectResponse, PushObjectRequest
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as Proto

from simulator.flower.capture import HttpMessage, Objects, http_messages
from simulator.flower.rpc import CALLS, SIGNATURE, TIMESTAMP, Head, call_of, fault_in_head, read_body
from sites.errors import UserError
from sites.ledger import read_rows

CHUNK = b"ArrayChunk "
OTHER = "other"


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request that a site made. `call` is OTHER where it makes none of Flower's.

    size: its bytes on the wire; head, length: those of its head and its body when they are written plainly
    fault: what is wrong with its head, or ""
    unchecked: bytes of the head whose values nobody can foresee
    body: what its body says, without an object's content; None where it is not exactly what such a body is written as
    pushed, data: the id of the object that it holds, and how many bytes of an array are in it
    """

    call: str
    size: int
    head: int
    length: int
    fault: str
    unchecked: int
    body: Proto | None
    pushed: str = ""
    data: int = 0


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What crossed a site's door in one deployment.

    up, down: bytes on the sockets, whether or not they could be read
    seconds: how long the site was deployed
    key: the public key that the heads of its requests are signed by, as PEM
    code: SHA-256 of each app that came down
    """

    connections: int
    up: int
    down: int
    seconds: float
    key: bytes
    requests: Sequence[Request]
    responses: Sequence[Proto]
    code: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Session:
    """A deployment: whether its sites were apart, with which Flower, from when to when in seconds since the epoch."""

    folder: Path
    apart: bool
    flwr: str
    began: float
    ended: float

    @classmethod
    def read(cls, folder: Path) -> Session:
        """Read the record of a deployment; one that was killed ended when its newest file was written.

        Raises `UserError` where there is none.
        """
        path = folder / "session.json"
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            newest = max(path.stat().st_mtime for path in folder.rglob("*"))
            return cls(folder=folder, **{**told, "ended": told["ended"] or newest})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"{path}: does not hold the record of a deployment; the wire can't be audited") from error


def read_traffic(session: Session, site: str, objects: Objects) -> Traffic:
    """Read what crossed a site's door; keep every object that went either way."""
    folder = session.folder / site
    noted = {row["number"]: row for row in read_rows(folder / "connections.jsonl")}
    requests: list[Request] = []
    responses: list[Proto] = []
    code: set[str] = set()
    up = down = 0
    first: Head | None = None
    numbers = sorted(noted.keys() | {int(path.stem) for path in folder.glob("*.up")})
    for number in numbers:
        row = noted.get(number, {"up": 0, "kernel_up": None, "opened": session.began, "closed": session.ended})
        paths = [folder / f"{number}.{way}" for way in ("up", "down")]
        sizes = [path.stat().st_size if path.exists() else 0 for path in paths]
        up += max(sizes[0], row["up"], (row["kernel_up"] or 0) - 1)  # the kernel counts the FIN as a byte
        down += sizes[1]
        asked = []
        for message in http_messages(paths[0], requests=True):
            fault = fault_in_head(message, first, row["opened"], row["closed"])
            first = first or (None if fault else Head.of(message))
            asked.append(_request(message, fault, objects))
        requests.extend(asked)
        answers = http_messages(paths[1], requests=False)
        for request, answer in zip(asked, answers, strict=False):
            responses.extend(_response(request, answer, objects, code))
    return Traffic(
        connections=len(numbers),
        up=up,
        down=down,
        seconds=session.ended - session.began,
        key=base64.b64decode(first.key) if first else b"",
        requests=requests,
        responses=responses,
        code=frozenset(code),
    )


def _request(message: HttpMessage, fault: str, objects: Objects) -> Request:
    call = call_of(message)
    body = read_body(CALLS[call][0], message.body) if call else None
    pushed, data = "", 0
    if isinstance(body, PushObjectRequest):
        content = body.object_content
        pushed = objects.put(content)
        data = len(content) - content.index(b"\0") - 1 if content.startswith(CHUNK) and b"\0" in content else 0
        body.ClearField("object_content")
    free = sum(len(value) for name, value in message.headers if name.lower() in (TIMESTAMP, SIGNATURE))
    return Request(
        call=call or OTHER,
        size=message.size,
        head=message.head,
        length=len(message.body),
        fault=fault,
        unchecked=free,
        body=body,
        pushed=pushed,
        data=data,
    )


def _response(request: Request, answer: HttpMessage, objects: Objects, code: set[str]) -> Iterator[Proto]:
    """Yield what a response says, without an object's content or an app's code."""
    if request.call == OTHER or answer.status != 200:
        return
    said: Any = CALLS[request.call][1]()
    try:
        said.ParseFromString(answer.body)
    except DecodeError:
        return
    if isinstance(said, PullObjectResponse):
        objects.put(said.object_content)
        said.ClearField("object_content")
    if isinstance(said, GetFabResponse):
        code.add(hashlib.sha256(said.fab.content).hexdigest())
        said.fab.ClearField("content")
    yield said
