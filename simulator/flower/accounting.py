"""Accounts for every byte that went up through a site's door: none is explained before it has been checked."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from flwr.app import Message, RecordDict
from flwr.common.constant import HEARTBEAT_DEFAULT_INTERVAL
from flwr.common.serde_utils import metadata_to_proto
from flwr.proto.fleet_pb2 import PullMessagesResponse, PushMessagesRequest
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree, iterate_object_tree
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from simulator.contract import Contracts, Reply
from simulator.contract import Request as Asked
from simulator.flower.capture import Objects
from simulator.flower.records import from_reply, to_reply, to_request
from simulator.flower.rpc import values_in
from simulator.flower.traffic import OTHER, Request, Traffic

UNFORESEEN_BYTES = 24  # of a reply: three doubles, its lifetime, when it was made, and how long the app ran

Place = tuple[str, int, int, str, str]


@dataclass(kw_only=True)
class Tally:
    """What accounts for the bytes that went up from a site in one deployment.

    surplus: bytes that nothing accounts for, by why; seen: released fields that crossed, by turn, field and SHA-256
    matched: bytes of those fields, whether or not they had to cross
    """

    traffic: Traffic
    framing: int = 0
    released: int = 0
    matched: int = 0
    unchecked: int = 0
    replies: int = 0
    objects: int = 0
    calls: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    surplus: Counter[str] = field(default_factory=Counter)
    seen: set[Place] = field(default_factory=set)

    @property
    def unexplained(self) -> int:
        return self.traffic.up - self.framing - self.released


class Accounting:
    """The accounting of one site in one deployment.

    position: the site's place in the schedule; released: what its ledger says that it released
    contracts: what the strategy declares (None: it is not at hand, and the names of tensors go unchecked)
    """

    def __init__(
        self, traffic: Traffic, objects: Objects, position: int, released: Iterable[Place], contracts: Contracts | None
    ) -> None:
        self._traffic = traffic
        self._objects = objects
        self._position = position
        self._released = frozenset(released)
        self._contracts = contracts
        self._tally = Tally(traffic=traffic)
        self._asked = {
            message.metadata.message_id: (message, tree)
            for said in traffic.responses
            if isinstance(said, PullMessagesResponse)
            for message, tree in zip(said.messages_list, said.message_object_trees, strict=True)
        }
        self._known: set[object] = {float(HEARTBEAT_DEFAULT_INTERVAL), traffic.key}
        self._known |= {value for said in traffic.responses for value in values_in(said)}
        self._explained: set[str] = set()  # ids of objects that an honest site sends
        self._sound: set[int] = set()  # ids of bodies of PushMessages that announce an honest reply

    def tally(self) -> Tally:
        """Check replies first, and then every request."""
        found, requests = self._tally, self._traffic.requests
        for body in [request.body for request in requests]:
            if isinstance(body, PushMessagesRequest):
                self._reply(body)
        for request in requests:
            self._request(request)
        readable = sum(request.size for request in requests)
        found.surplus["bytes that are no request of HTTP"] += self._traffic.up - readable
        found.surplus = +found.surplus
        found.objects += sum(_size(tree) for _, tree in self._asked.values())
        return found

    def _request(self, request: Request) -> None:
        found, call = self._tally, self._tally.calls[request.call]
        why = self._fault_in_body(request)
        head = 0 if request.fault or request.call == OTHER else request.head
        data = request.data if not why else 0
        body = 0 if why else request.length
        found.surplus[request.fault or why] += request.head - head
        found.surplus[why] += request.length - body
        found.surplus["bytes between the parts of a request"] += request.size - request.head - request.length
        found.framing += head + body - data
        found.released += data
        found.unchecked += request.unchecked if head else 0
        call.update(requests=1, heads=head, bodies=body, content=data)

    def _fault_in_body(self, request: Request) -> str:
        """Return why a body is not explained, or ""."""
        if request.call == OTHER:
            return "a request that is none of Flower's"
        if request.body is None:
            return "a body of another form than Flower's"
        if request.pushed:
            if request.pushed not in self._explained:
                return "an object that no released field accounts for"
            told = {request.pushed}
        elif isinstance(request.body, PushMessagesRequest):
            return "" if id(request.body) in self._sound else "a reply that says more than its released fields"
        else:
            told = set()
        strange = [value for value in values_in(request.body) if value not in self._known | told]
        return "a request with values that did not come down" if strange else ""

    def _reply(self, body: PushMessagesRequest) -> None:
        """Explain the objects of a reply as far as an honest site would have sent them, and its announcement."""
        try:
            (metadata,), (tree,) = [one.metadata for one in body.messages_list], body.message_object_trees
            message = self._inflated(metadata.message_id, tree)
            asked = self._request_of(metadata.reply_to_message_id)
            reply = to_reply(RecordDict({name: message.content[name] for name in ("reply", "body")}))
        except Exception:  # what a hostile site announces may be anything, and is then unexplained
            return
        honest = from_reply(self._accounted(reply, asked))
        self._explained |= get_all_nested_objects(honest).keys()
        plain = metadata_to_proto(message.metadata)
        plain.message_id, told = "", type(metadata).FromString(metadata.SerializeToString())
        told.message_id = ""
        same = honest.object_id == message.content.object_id and plain == told and get_object_tree(message) == tree
        if same and message.deflate() == self._objects[metadata.message_id] and self._echoes(body):
            self._explained.add(metadata.message_id)
            self._sound.add(id(body))
            self._tally.unchecked += UNFORESEEN_BYTES
            self._tally.replies += 1
            self._tally.objects += _size(tree)

    def _accounted(self, reply: Reply, asked: Asked) -> Reply:
        """Return what of a reply the ledger, the contract and the request account for."""
        keys = reply.body
        if self._contracts is not None and reply.body:
            declared = {leaf.key for leaf in self._contracts.of(asked.purpose, asked.turn).up.manifest}
            keys = {key: data for key, data in reply.body.items() if key in declared}
        fields: dict[str, dict[str, bytes]] = {}
        for key, data in keys.items():
            fields.setdefault(key.partition("/")[0], {})[key] = data
        kept: dict[str, bytes] = {}
        for name, leaves in fields.items():
            digest = hashlib.sha256(b"".join(leaves.values())).hexdigest()
            place = (str(asked.purpose), asked.turn.step, asked.turn.round, name, digest)
            if place in self._released:
                kept |= leaves
                self._tally.seen.add(place)
                self._tally.matched += sum(map(len, leaves.values()))
        site = reply.site if reply.site == self._position else -1
        fingerprint = reply.fingerprint if reply.fingerprint == asked.fingerprint else ""
        return Reply(code=reply.code, site=site, fingerprint=fingerprint, body=kept)

    def _echoes(self, body: PushMessagesRequest) -> bool:
        """Return whether an announcement says nothing but what came down, its objects, and when and how long."""
        plain = PushMessagesRequest.FromString(body.SerializeToString())
        if len(plain.clientapp_runtime_list) != 1:
            return False
        plain.ClearField("clientapp_runtime_list")
        for message in plain.messages_list:
            message.metadata.ClearField("ttl")
            message.metadata.ClearField("created_at")
        ids = {one.object_id for tree in body.message_object_trees for one in iterate_object_tree(tree)}
        return all(value in self._known | ids for value in values_in(plain))

    def _request_of(self, message_id: str) -> Asked:
        """Return the request that a reply answers. Raises `KeyError` where none such came down."""
        told, tree = self._asked[message_id]
        return to_request(told.metadata.message_type, self._inflated(message_id, tree).content)

    def _inflated(self, message_id: str, tree: ObjectTree) -> Message:
        contents = {one.object_id: self._objects[one.object_id] for one in iterate_object_tree(tree)}
        found: Any = inflate_object_from_contents(message_id, contents)
        if not isinstance(found, Message) or found.has_error():
            raise ValueError("the object is not a message with a content")
        return found


def _size(tree: ObjectTree) -> int:
    return sum(1 for _ in iterate_object_tree(tree))
