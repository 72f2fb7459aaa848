"""A site answers what its schedule and its own policy allow, and reads no data for anything else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from simulator.contract import Purpose, Reply
from simulator.site import Home, answer
from sites.gate import Code, Gate
from sites.stream import Turn
from sites.vault import Vault, locked
from sites.wire import Kind, unpack
from tests.simulator.site.asked import Site


def test_what_a_site_learns_leaves_through_the_gate_and_what_it_keeps_stays(make: Callable[..., Site]) -> None:
    site = make()
    reply = site.answer()
    contract = site.contract(Purpose.LEARN)
    assert (reply.code, reply.site, reply.fingerprint) == (Code.OK, 0, contract.fingerprint)
    upload = unpack(contract.up.blank, contract.up.manifest, reply.body)
    assert upload.segmenter.keys() == contract.down.blank.segmenter.keys()  # type: ignore[attr-defined]
    assert [(row["event"], row["field"], row["step"]) for row in site.rows] == [
        ("received", "segmenter", 1),
        ("release", "segmenter", 1),
    ]
    assert site.rows[1]["bytes"] == sum(map(len, reply.body.values()))
    assert list(site.kept) == ["turn-000001/exemplars.safetensors"]


def test_a_site_holds_to_the_first_schedule_that_it_was_sent(make: Callable[..., Site]) -> None:
    assert make("well").answer().code is Code.OK
    other = make("well", arrivals=["A", "B"])
    before = other.source.reads
    assert other.answer().code is Code.BAD_REQUEST
    assert other.source.reads == before


def test_another_fingerprint_is_a_bad_request_and_no_data_are_read(make: Callable[..., Site]) -> None:
    site = make()
    assert site.answer(fingerprint="0123456789abcdef").code is Code.BAD_REQUEST
    assert site.source.reads == 0
    assert [row["event"] for row in site.rows] == ["refusal"]


@pytest.mark.parametrize("data", [b"", b"\0" * 3])
def test_a_message_of_another_length_is_a_bad_request_and_no_data_are_read(
    data: bytes, make: Callable[..., Site]
) -> None:
    site = make()
    body = dict(site.request().body)
    body[next(iter(body))] = data
    assert site.answer(body=body).code is Code.BAD_REQUEST
    assert site.source.reads == 0


def test_a_site_without_a_policy_lets_nothing_out_and_reads_no_data(make: Callable[..., Site]) -> None:
    site = make()
    (site.home.root / "policy.yaml").unlink()
    for purpose in (Purpose.LEARN, Purpose.SCORE):
        assert site.answer(purpose) == Reply(code=Code.KIND_NOT_ADMITTED, site=0, fingerprint="")
    assert site.source.reads == 0
    assert site.kept == {}
    assert [(row["event"], row["purpose"], row["code"]) for row in site.rows] == [
        ("refusal", "learn", "KIND_NOT_ADMITTED"),
        ("refusal", "score", "KIND_NOT_ADMITTED"),
    ]


def test_a_policy_is_the_sites_own_and_not_the_schedules(make: Callable[..., Site]) -> None:
    site = make(policy="reference-only")
    site.admit(Kind.SCORE)
    assert site.answer().code is Code.KIND_NOT_ADMITTED
    assert site.answer(Purpose.SCORE).code is Code.OK


@pytest.mark.parametrize("text", ["admit: [text]", "admit: segmenter", "admit: [segmenter]\nbudget: 3", "]", ""])
def test_a_policy_that_cannot_be_read_lets_nothing_out_and_reads_no_data(text: str, make: Callable[..., Site]) -> None:
    site = make()
    (site.home.root / "policy.yaml").write_text(text)
    assert site.answer() == Reply(code=Code.SITE_ERROR, site=0, fingerprint="")
    assert site.source.reads == 0


def test_a_budget_that_is_spent_stops_every_further_release(make: Callable[..., Site]) -> None:
    site = make()
    size = sum(leaf.nbytes for leaf in site.contract(Purpose.LEARN).up.manifest)
    site.admit(Kind.SEGMENTER, Kind.SCORE, byte_budget=size)
    assert site.answer().code is Code.OK
    kept = site.kept
    assert site.answer(turn=Turn(step=1, round=2, serial=2)).code is Code.OVER_BUDGET
    assert site.answer(Purpose.SCORE).code is Code.OVER_BUDGET
    assert site.kept == kept


@pytest.mark.parametrize("step", [-1, 0, 2, 99])
def test_data_that_the_site_does_not_hold_are_gone(step: int, make: Callable[..., Site]) -> None:
    site = make()
    assert site.answer(turn=Turn(step=step, round=1, serial=1)).code is Code.DATA_GONE
    assert site.source.reads == 0
    assert site.rows[-1]["code"] == "DATA_GONE"


def test_data_that_a_site_has_left_behind_are_gone(make: Callable[..., Site]) -> None:
    site = make()
    assert site.answer(turn=Turn(step=3, round=1, serial=5)).code is Code.OK
    assert site.answer().code is Code.DATA_GONE


@pytest.mark.parametrize("schedule", ["", "{", "[]", "{}", "null", '{"strategy": "/mnt/pacs/DOE^JANE-4711"}'])
def test_a_schedule_that_makes_no_sense_is_answered_by_a_code(
    schedule: str, make: Callable[..., Site], capfd: pytest.CaptureFixture[str]
) -> None:
    site = make()
    assert site.answer(schedule=schedule) == Reply(code=Code.SITE_ERROR, site=-1, fingerprint="")
    assert capfd.readouterr() == ("", "")


def test_a_site_that_is_not_in_the_schedule_does_nothing(make: Callable[..., Site], tmp_path: Path) -> None:
    site = make()
    stranger = Home(site="Z", root=tmp_path / "Z")
    assert answer(site.request(), stranger) == Reply(code=Code.SITE_ERROR, site=-1, fingerprint="")
    assert site.source.reads == 0


def test_a_site_at_work_is_busy_and_its_ledger_is_left_alone(make: Callable[..., Site]) -> None:
    site = make()
    with locked(site.home.root):
        assert site.answer() == Reply(code=Code.BUSY, site=0, fingerprint="")
    assert site.rows == []
    assert site.answer().code is Code.OK


def test_a_site_says_its_place_and_no_more_to_a_greeting(make: Callable[..., Site]) -> None:
    site = make()
    request = replace(site.request(), purpose=Purpose.HELLO, body={}, fingerprint="")
    assert answer(request, site.home) == Reply(code=Code.OK, site=0, fingerprint="")
    assert site.source.reads == 0
    assert site.rows == []


def test_scores_leave_and_the_vault_is_left_alone(make: Callable[..., Site]) -> None:
    site = make()
    site.answer()
    kept = site.kept
    reply = site.answer(Purpose.SCORE, Turn(step=0, round=0, serial=0))
    contract = site.contract(Purpose.SCORE)
    scores = unpack(contract.up.blank, contract.up.manifest, reply.body)
    assert scores.held.tolist() == [2]  # type: ignore[attr-defined]
    assert site.kept == kept
    assert [(row["event"], row["purpose"], row["field"]) for row in site.rows[2:]] == [
        ("received", "score", "segmenter"),
        ("release", "score", "values"),
        ("release", "score", "held"),
    ]


def test_a_message_answered_again_gets_the_same_bytes(make: Callable[..., Site]) -> None:
    site = make()
    first, kept = site.answer(), site.kept
    torch.manual_seed(99)
    assert site.answer() == first
    assert site.kept == kept


def test_the_gate_writes_down_before_the_vault_changes(
    make: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def noting(kind: type, name: str) -> None:
        real = getattr(kind, name)
        monkeypatch.setattr(kind, name, lambda *args, **named: (order.append(name), real(*args, **named))[1])

    noting(Gate, "release")
    noting(Vault, "commit")
    assert make().answer().code is Code.OK
    assert order == ["release", "commit"]
