"""Whatever a site adds to what it may say is counted as unexplained, to the byte where that can be, and named."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict
from flwr.proto.fleet_pb2 import PullMessagesRequest, PullMessagesResponse, PushMessagesRequest, PushMessagesResponse
from flwr.proto.message_pb2 import PullObjectRequest, PullObjectResponse
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree

from simulator.flower.records import from_reply, to_reply
from tests.simulator.flower.talk import NODE, RUN, Exchanged, Talk, audited, honest, last

LOOT = b"a slice of a patient" * 50


def reply_with(said: Exchanged, change: Callable[[RecordDict], RecordDict]) -> Iterator[tuple[Message, Message]]:
    """Yield what site A said, the reply to learning changed."""
    for request, reply in said["A"]:
        if request is last(said)[0]:
            yield request, Message(content=change(reply.content), reply_to=request)
        else:
            yield request, reply


def with_leaf(content: RecordDict, key: str, data: bytes) -> RecordDict:
    array = Array(dtype="uint8", shape=(len(data),), stype="wardround.raw", data=data)
    body = ArrayRecord({**content.array_records["body"], key: array})
    return RecordDict({"reply": content["reply"], "body": body})


def renamed(content: RecordDict) -> RecordDict:
    body = content.array_records["body"]
    arrays = {(f"{key}.{LOOT.hex()}" if number == 0 else key): body[key] for number, key in enumerate(body)}
    return RecordDict({"reply": content["reply"], "body": ArrayRecord(arrays)})


def altered(content: RecordDict) -> RecordDict:
    key, array = next(iter(content.array_records["body"].items()))
    return with_leaf(content, key, bytes(len(array.data)))


REPLIES: dict[str, tuple[Callable[[RecordDict], RecordDict], int]] = {
    "a foreign record": (
        lambda content: RecordDict({**content, "loot": ConfigRecord({"bytes": LOOT})}),
        len(LOOT),
    ),
    "a leaf of a declared field": (lambda content: with_leaf(content, "segmenter/loot", LOOT), len(LOOT)),
    "a field that nobody declared": (lambda content: with_leaf(content, "loot", LOOT), len(LOOT)),
    "a name of a leaf": (renamed, 2 * len(LOOT)),
    "another value": (altered, 1),
    "the number of the site": (
        lambda content: from_reply(dataclasses.replace(to_reply(content), site=2**62)),
        8,
    ),
    "the fingerprint": (
        lambda content: from_reply(dataclasses.replace(to_reply(content), fingerprint=LOOT.hex())),
        2 * len(LOOT),
    ),
    "a value of the envelope": (
        lambda content: RecordDict(
            {"reply": ConfigRecord({**content["reply"], "loot": LOOT}), "body": content["body"]}
        ),
        len(LOOT),
    ),
}


@pytest.mark.parametrize("what", REPLIES)
def test_what_a_reply_adds_past_the_gate_is_unexplained(exchanged: tuple[Path, Exchanged], what: str) -> None:
    root, said = exchanged
    change, least = REPLIES[what]
    audit, site = audited(root, [honest(reply_with(said, change))], honest(said["E"]))
    assert site.unexplained >= least
    assert audit.verdict == "failed"
    assert {finding.what for finding in audit.findings} == {"wire"}
    assert {finding.site for finding in audit.findings} == {"A"}


def test_the_text_of_an_error_is_unexplained(exchanged: tuple[Path, Exchanged]) -> None:
    root, said = exchanged
    talk = honest(said["A"])
    request, _ = last(said)
    talk.take(request)
    talk.give(Message(error=Error(code=2, reason=LOOT.decode()), reply_to=request))
    _, site = audited(root, [talk], honest(said["E"]))
    assert site.unexplained > 2 * len(LOOT)  # announced, and pushed


def metadata(name: str, value: object) -> Callable[[Talk, Message, Message], None]:
    def add(talk: Talk, request: Message, reply: Message) -> None:
        again = Message(content=reply.content, reply_to=request)
        again.metadata.__dict__[f"_{name}"] = value
        talk.take(request)
        talk.give(again)

    return add


def raw(text: bytes) -> Callable[[Talk, Message, Message], None]:
    def add(talk: Talk, request: Message, reply: Message) -> None:
        talk.up += text

    return add


def poll_with(old: bytes, new: bytes) -> Callable[[Talk, Message, Message], None]:
    """Poll with something in the head in place of what belongs there."""

    def add(talk: Talk, request: Message, reply: Message) -> None:
        head = talk.head("pull-messages", poll := PullMessagesRequest(node=Node(node_id=NODE)))
        assert old in head
        talk.up += head.replace(old, new) + poll.SerializeToString()

    return add


def unknown_field(talk: Talk, request: Message, reply: Message) -> None:
    body = PullMessagesRequest(node=Node(node_id=NODE)).SerializeToString() + b"\xfa\x7f" + bytes([100]) + LOOT[:100]
    talk.say("pull-messages", PullMessagesRequest.FromString(body), PullMessagesResponse())


def forged_pull(talk: Talk, request: Message, reply: Message) -> None:
    asked = PullObjectRequest(node=Node(node_id=NODE), run_id=RUN, object_id=LOOT[:32].hex())
    talk.say("pull-object", asked, PullObjectResponse())


def stray_object(talk: Talk, request: Message, reply: Message) -> None:
    array = Array(dtype="uint8", shape=(len(LOOT),), stype="wardround.raw", data=LOOT)
    for name, one in get_all_nested_objects(array).items():
        talk.push(name, one.deflate())


def no_message(talk: Talk, request: Message, reply: Message) -> None:
    array = Array(dtype="uint8", shape=(len(LOOT),), stype="wardround.raw", data=LOOT)
    said = PushMessagesRequest(node=Node(node_id=NODE), message_object_trees=[get_object_tree(array)])
    said.messages_list.add().metadata.message_id = array.object_id
    talk.say("push-messages", said, PushMessagesResponse())
    stray_object(talk, request, reply)


def false_name(talk: Talk, request: Message, reply: Message) -> None:
    name = next(iter(get_all_nested_objects(reply)))
    talk.push(name, LOOT)


ADDED: dict[str, Callable[[Talk, Message, Message], None]] = {
    "bytes that are no HTTP": raw(LOOT),
    "another path": raw(
        b"POST /v1/fleet/" + LOOT.hex().encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    ),
    "another method": raw(b"PUT /v1/fleet/pull-messages HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
    "a request cut short": raw(b"POST /v1/fleet/pull-messages HTTP/1.1\r\nHost: x\r\nX-Loot: y"),
    "a header of its own": poll_with(b"\r\n\r\n", b"\r\nX-Loot: " + LOOT.hex().encode() + b"\r\n\r\n"),
    "a header twice": poll_with(b"\r\n\r\n", b"\r\naccept: application/protobuf\r\n\r\n"),
    "another user agent": poll_with(b"python-httpx/0.28.1", b"python-httpx/7.7.7"),
    "another order of headers": poll_with(
        b"Connection: keep-alive\r\nUser-Agent: python-httpx/0.28.1",
        b"User-Agent: python-httpx/0.28.1\r\nConnection: keep-alive",
    ),
    "other capitals": poll_with(b"Connection: keep-alive", b"coNNecTion: keep-alive"),
    "blanks in a head": poll_with(b"Host: ", b"Host:        "),
    "another time": poll_with(b"2027", b"1999"),
    "a signature that is none": poll_with(b"flwr-signature: M", b"flwr-signature: A"),
    "a field that the message does not have": unknown_field,
    "an object's name that never came down": forged_pull,
    "an object that nobody announced": stray_object,
    "an object under another's name": false_name,
    "an announcement of what is no message": no_message,
    "a day that is none": poll_with(b"-timestamp: 2027-01", b"-timestamp: 2027-99"),
    "a group": metadata("group_id", LOOT.hex()),
    "another kind of message": metadata("message_type", "train." + "loot" * 9),
}


@pytest.mark.parametrize("what", ADDED)
def test_what_a_site_says_beside_its_replies_is_unexplained(exchanged: tuple[Path, Exchanged], what: str) -> None:
    root, said = exchanged
    talk = honest(said["A"])
    before = len(talk.up)
    ADDED[what](talk, *last(said))
    audit, site = audited(root, [talk], honest(said["E"]))
    assert 0 < site.unexplained <= len(talk.up) - before
    assert {(finding.site, finding.what) for finding in audit.findings} == {("A", "wire")}


def test_a_connection_of_its_own_is_unexplained_to_the_byte(exchanged: tuple[Path, Exchanged]) -> None:
    root, said = exchanged
    smuggled = honest([])
    smuggled.up, smuggled.down = LOOT, b""
    audit, site = audited(root, [honest(said["A"]), smuggled], honest(said["E"]))
    assert (site.unexplained, site.connections) == (len(LOOT), 2)
    (finding,) = audit.findings
    assert f"{len(LOOT):,} bytes went up over the wire that nothing accounts for" in finding.sentence
