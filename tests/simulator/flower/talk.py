"""What a SuperNode and a SuperLink say to each other about messages, written as Flower 1.41 writes it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from flwr.app import Message
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    ActivateNodeResponse,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
    PushMessagesResponse,
    RegisterNodeFleetRequest,
    RegisterNodeFleetResponse,
)
from flwr.proto.message_pb2 import PullObjectRequest, PullObjectResponse, PushObjectRequest, PushObjectResponse
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.primitives.asymmetric import generate_key_pairs, public_key_to_bytes, sign_message

from simulator.audit.auditing import audit_run
from simulator.audit.crossing import SiteWire
from simulator.audit.model import RunAudit

BEGAN = 1_800_000_000.0
STAMP = datetime.fromtimestamp(BEGAN + 1, UTC).isoformat(timespec="microseconds")
NODE = 4_815_162_342
RUN = 1
SESSION = "8689c4c5-3515-4fa7-adcc-38acbf4b2a44"
Exchanged = dict[str, list[tuple[Message, Message]]]


@dataclass
class Talk:
    """One connection of a site, as the relay keeps it: all bytes up, and all bytes down."""

    up: bytes = b""
    down: bytes = b""
    key: object = field(default_factory=generate_key_pairs)
    spare: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.signature = sign_message(self.key[0], STAMP.encode())
        pem = public_key_to_bytes(self.key[1])
        self.say("register-node", RegisterNodeFleetRequest(public_key=pem), RegisterNodeFleetResponse(node_id=NODE))
        active = ActivateNodeRequest(public_key=pem, heartbeat_interval=30.0)
        self.say("activate-node", active, ActivateNodeResponse(node_id=NODE))

    def say(self, call: str, request: object, response: object) -> None:
        self.up += self.head(call, request) + request.SerializeToString(deterministic=True)
        answer = response.SerializeToString(deterministic=True)
        self.down += f"HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-length: {len(answer)}\r\n\r\n".encode() + answer

    def head(self, call: str, request: object) -> bytes:
        headers = {
            "Host": "127.0.0.1:9092",
            "Accept-Encoding": "gzip, deflate",
            "Connection": "keep-alive",
            "User-Agent": "python-httpx/0.28.1",
            "content-type": "application/protobuf",
            "accept": "application/protobuf",
            "Content-Length": str(len(request.SerializeToString(deterministic=True))),
            "flwr-package-name": "flwr",
            "flwr-package-version": "1.41.0",
            "flwr-component-name": "SuperNode",
            "flwr-public-key": base64.b64encode(public_key_to_bytes(self.key[1])).decode(),
            "flwr-timestamp": STAMP,
            "flwr-signature": base64.b64encode(self.signature).decode(),
        }
        lines = [f"POST /v1/fleet/{call} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode()

    def poll(self) -> None:
        self.say("pull-messages", PullMessagesRequest(node=Node(node_id=NODE)), PullMessagesResponse())

    def take(self, message: Message) -> None:
        """A message comes down, and its objects with it."""
        said = PullMessagesResponse(messages_list=[_bare(message)], message_object_trees=[get_object_tree(message)])
        self.say("pull-messages", PullMessagesRequest(node=Node(node_id=NODE)), said)
        for name, found in get_all_nested_objects(message).items():
            request = PullObjectRequest(node=Node(node_id=NODE), run_id=RUN, object_id=name)
            told = PullObjectResponse(object_found=True, object_available=True, object_content=found.deflate())
            self.say("pull-object", request, told)

    def give(self, message: Message) -> None:
        """A reply goes up, with those of its objects that the SuperLink has not."""
        objects = {name: one for name, one in get_all_nested_objects(message).items() if name not in self.spare}
        request = PushMessagesRequest(
            node=Node(node_id=NODE),
            messages_list=[_bare(message)],
            message_object_trees=[get_object_tree(message)],
            clientapp_runtime_list=[12.3],
        )
        answer = PushMessagesResponse(objects_to_push=list(objects), session_id=SESSION)
        self.say("push-messages", request, answer)
        for name, one in objects.items():
            self.push(name, one.deflate())

    def push(self, name: str, content: bytes) -> None:
        request = PushObjectRequest(
            node=Node(node_id=NODE), run_id=RUN, object_id=name, object_content=content, session_id=SESSION
        )
        self.say("push-object", request, PushObjectResponse(stored=True))


def _bare(message: Message) -> object:
    found = message_to_proto(message)
    found.ClearField("content")
    found.content.SetInParent()
    found.metadata.message_id = message.object_id
    return found


def keep(root: Path, talks: dict[str, Sequence[Talk]], deployment: int = 1) -> None:
    """Write what sites said in one deployment into a run folder, as a deployment keeps it."""
    folder = root / "wire" / str(deployment)
    for site, found in talks.items():
        (folder / site).mkdir(parents=True, exist_ok=True)
        rows = []
        for number, talk in enumerate(found, start=1):
            (folder / site / f"{number}.up").write_bytes(talk.up)
            (folder / site / f"{number}.down").write_bytes(talk.down)
            counts = {"up": len(talk.up), "down": len(talk.down), "kernel_up": len(talk.up) + 1}
            rows.append({"number": number, **counts, "opened": BEGAN, "closed": BEGAN + 60})
        (folder / site / "connections.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    facts = {"apart": True, "flwr": "1.41.0", "began": BEGAN, "ended": BEGAN + 60}
    (folder / "session.json").write_text(json.dumps(facts))


def honest(pairs: Iterable[tuple[Message, Message]]) -> Talk:
    """What an honest site says."""
    talk = Talk()
    for request, reply in pairs:
        talk.take(request)
        talk.give(reply)
        talk.poll()
    return talk


def audited(root: Path, a: Iterable[Talk], e: Talk) -> tuple[RunAudit, SiteWire]:
    """Return the audit of a run with a wire, and what it says of site A."""
    keep(root, {"A": list(a), "E": [e]})
    audit = audit_run(root)
    assert audit.wire is not None
    (site, other) = audit.wire.sites
    assert (other.site, other.unexplained) == ("E", 0)
    assert site.up == site.released + site.framing + site.unexplained
    assert site.unexplained == sum(one.bytes for one in site.surplus)
    return audit, site


def last(said: Exchanged) -> tuple[Message, Message]:
    """The request and reply of site A in which it learnt."""
    return next(pair for pair in said["A"] if pair[0].metadata.message_type == "train.learn")
