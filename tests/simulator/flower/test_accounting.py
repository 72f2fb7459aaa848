"""Every byte on a wire is accounted for where sites are honest; what is missing, or too much, is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flwr.proto.message_pb2 import PullObjectRequest, PullObjectResponse
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from simulator.audit.auditing import audit_run
from tests.simulator.flower.talk import NODE, Exchanged, Talk, audited, honest, keep, last

Wardround = Callable[..., tuple[int, str, str]]


def test_every_byte_of_honest_sites_is_accounted_for(exchanged: tuple[Path, Exchanged], wardround: Wardround) -> None:
    root, said = exchanged
    talk = honest(said["A"])
    audit, site = audited(root, [talk], honest(said["E"]))
    assert audit.findings == ()
    assert (site.up, site.down, site.unexplained, site.surplus) == (len(talk.up), len(talk.down), 0, ())
    assert site.fields == site.rows > 0
    assert site.released + site.spared == sum(total.bytes for total in audit.sites[0].released)
    assert site.framing <= site.bound
    assert site.requests <= site.call_bound
    assert {call.name: call.requests for call in site.calls}["push-messages"] == len(said["A"])
    code, out, _ = wardround("audit", root)
    assert (code, "0 bytes are unexplained" in out, "What went up over the wire" in out) == (0, True, True)
    assert "What crossed the wire" in (root / "audit.html").read_text()


def test_more_requests_than_the_stated_most_are_found(exchanged: tuple[Path, Exchanged]) -> None:
    root, said = exchanged
    talk = honest(said["A"])
    for _ in range(200):
        talk.poll()
    audit, site = audited(root, [talk], honest(said["E"]))
    assert site.unexplained == 0
    assert site.requests > site.call_bound
    assert "requests went up over the wire; the stated most is" in audit.findings[0].sentence


def test_what_the_server_has_already_need_not_cross(exchanged: tuple[Path, Exchanged]) -> None:
    root, said = exchanged
    talk, request, reply = Talk(), *last(said)
    talk.take(request)
    chunks = {name: one.deflate() for name, one in get_all_nested_objects(reply).items() if one.children is None}
    name, content = max(chunks.items(), key=lambda pair: len(pair[1]))
    other = honest(said["E"])
    other.say("pull-object", PullObjectRequest(node=Node(node_id=NODE)), PullObjectResponse(object_content=content))
    talk.spare = {name}
    talk.give(reply)
    for pair in [pair for pair in said["A"] if pair[0] is not request]:
        talk.take(pair[0])
        talk.give(pair[1])
    audit, site = audited(root, [talk], other)
    assert audit.findings == ()
    assert site.spared >= len(content) - 20
    assert site.fields == site.rows


def test_a_release_that_came_another_way_is_found(exchanged: tuple[Path, Exchanged]) -> None:
    root, said = exchanged
    pairs = [pair for pair in said["A"] if pair[0] is not last(said)[0]]
    audit, site = audited(root, [honest(pairs)], honest(said["E"]))
    assert site.unexplained == 0
    assert "did not cross the wire that was watched" in audit.findings[0].sentence


def test_bytes_that_only_the_kernel_saw_are_unexplained(exchanged: tuple[Path, Exchanged]) -> None:
    root, said = exchanged
    keep(root, {"A": [honest(said["A"])], "E": [honest(said["E"])]})
    path = root / "wire" / "1" / "A" / "connections.jsonl"
    up = len((path.parent / "1.up").read_bytes())
    path.write_text(path.read_text().replace(f'"kernel_up": {up + 1}', f'"kernel_up": {up + 1 + 7}'))
    audit = audit_run(root)
    assert audit.wire is not None
    assert audit.wire.sites[0].unexplained == 7


def test_a_capture_that_was_taken_away_is_missed(exchanged: tuple[Path, Exchanged], wardround: Wardround) -> None:
    root, said = exchanged
    keep(root, {"A": [talk := honest(said["A"])], "E": [honest(said["E"])]})
    folder = root / "wire" / "1"
    (folder / "A" / "1.up").unlink()
    audit = audit_run(root)
    assert audit.wire is not None
    assert audit.wire.sites[0].unexplained == len(talk.up)
    (folder / "session.json").unlink()
    code, _, err = wardround("audit", root)
    assert (code, "session.json: does not hold the record of a deployment" in err) == (2, True)


def test_a_run_that_went_on_in_a_second_deployment_is_accounted_for(exchanged: tuple[Path, Exchanged]) -> None:
    root, said = exchanged
    halves = [honest(said["A"][:2]), honest(said["A"][2:])]
    keep(root, {"A": halves[1:], "E": [Talk()]}, deployment=2)
    audit, site = audited(root, halves[:1], honest(said["E"]))
    assert audit.wire is not None
    assert (audit.findings, audit.wire.deployments) == ((), 2)
    assert (site.up, site.fields) == (sum(len(half.up) for half in halves), site.rows)
