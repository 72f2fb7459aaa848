"""The gate lets out what the site's policy admits, writes it down first, and says no more than a code."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from sites.gate import Code, Gate, Refused
from sites.ledger import Ledger, first_broken, read_rows
from sites.policy import SitePolicy
from sites.stream import Turn
from sites.wire import Kind, Payload, Weights, manifest_of, unpack

TURN = Turn(step=2, round=3, serial=7)
EVERYTHING = tuple(Kind)


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """A release with a lone tensor, named tensors, and counts of both sorts."""

    prompt: Annotated[Tensor, Kind.PROMPT]
    diffusion: Annotated[Weights, Kind.DIFFUSION]
    cases: Annotated[Tensor, Kind.COUNT]
    slices: Annotated[Weights, Kind.COUNT]


@dataclass(frozen=True, kw_only=True)
class Lookalike(Upload):
    """The same fields under another type."""


class Shifty(dict[str, Tensor]):
    """Weights that show something else each time they are looked at."""

    looks = 0

    def items(self) -> Any:
        self.looks += 1
        return {"w": torch.full((2,), float(self.looks) if self.looks == 1 else float("nan"))}.items()

    def values(self) -> Any:
        return (tensor for _, tensor in self.items())

    def __iter__(self) -> Iterator[str]:
        return iter(["w"])


def upload(**changed: Any) -> Upload:
    fields: dict[str, Any] = {
        "prompt": torch.arange(3.0),
        "diffusion": {"w": torch.ones(2)},
        "cases": torch.tensor([12]),
        "slices": {"a": torch.tensor([1, 8]), "b": torch.tensor(17.0)},
    }
    return Upload(**{**fields, **changed})


BLANK = upload()
MANIFEST = manifest_of(BLANK)
SIZE = 4 * 3 + 4 * 2 + 8 + 8 * 2 + 4


def gate(folder: Path, **policy: Any) -> Gate:
    return Gate(SitePolicy(**{"admit": EVERYTHING, **policy}), Ledger(folder / "ledger.jsonl"))


def release(through: Gate, payload: Payload) -> dict[str, bytes]:
    return through.release(payload, BLANK, MANIFEST, TURN, "learn")


def rows(folder: Path) -> list[dict[str, Any]]:
    return read_rows(folder / "ledger.jsonl")


def test_a_code_is_this_number_in_every_version() -> None:
    assert {code.name: int(code) for code in Code} == {
        "OK": 0,
        "SITE_ERROR": 1,
        "KIND_NOT_ADMITTED": 2,
        "NOT_AS_DECLARED": 3,
        "NOT_FINITE": 4,
        "OVER_BUDGET": 5,
        "DATA_GONE": 6,
        "DATA_UNREADABLE": 7,
        "BAD_REQUEST": 8,
        "BUSY": 9,
        "NO_REPLY": 10,
        "SITE_DIED": 11,
        "COPIES": 12,
        "UNDEFENDED": 13,
        "OUT_OF_RANGE": 14,
    }


def test_a_kind_is_this_word_in_every_policy() -> None:
    words = [
        *("prompt", "diffusion", "generator", "segmenter", "gradient"),
        *("statistic", "count", "score", "image", "label", "key"),
    ]
    assert [str(kind) for kind in Kind] == words


def test_what_is_admitted_leaves_as_it_is(tmp_path: Path) -> None:
    got = unpack(BLANK, MANIFEST, release(gate(tmp_path), upload()))
    assert torch.equal(got.prompt, upload().prompt)
    assert torch.equal(got.diffusion["w"], upload().diffusion["w"])
    assert got.cases.tolist() == [12]


@pytest.mark.parametrize("kind", [Kind.PROMPT, Kind.DIFFUSION, Kind.COUNT])
def test_a_kind_that_the_policy_leaves_out_is_refused(kind: Kind, tmp_path: Path) -> None:
    strict = gate(tmp_path, admit=[other for other in Kind if other is not kind])
    with pytest.raises(Refused) as refused:
        release(strict, upload())
    assert refused.value.code is Code.KIND_NOT_ADMITTED
    assert rows(tmp_path) == []


def test_a_policy_names_all_that_it_refuses() -> None:
    assert SitePolicy(admit=(Kind.DIFFUSION,)).refused_kinds(MANIFEST) == (Kind.PROMPT, Kind.COUNT)


def test_a_policy_that_admits_nothing_lets_nothing_out(tmp_path: Path) -> None:
    with pytest.raises(Refused):
        release(gate(tmp_path, admit=()), upload())


@pytest.mark.parametrize(
    "policy", [{"admit": ["text"]}, {"admit": [], "byte_budget": 0}, {"admit": [], "round_counts_to": 0}, {}]
)
def test_a_policy_that_makes_no_sense_is_no_policy(policy: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SitePolicy(**policy)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("where", ["prompt", "diffusion", "slices"])
def test_a_number_that_is_not_finite_is_refused(where: str, value: float, tmp_path: Path) -> None:
    bad: Any = {
        "prompt": torch.tensor([0.0, value, 0.0]),
        "diffusion": {"w": torch.tensor([0.0, value])},
        "slices": {"a": torch.tensor([1, 8]), "b": torch.tensor(value)},
    }
    with pytest.raises(Refused) as refused:
        release(gate(tmp_path, round_counts_to=5), upload(**{where: bad[where]}))
    assert refused.value.code is Code.NOT_FINITE


def test_a_payload_of_another_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        release(gate(tmp_path), Lookalike(**vars(upload())))
    assert refused.value.code is Code.NOT_AS_DECLARED


@pytest.mark.parametrize("units", [1, 5])
@pytest.mark.parametrize(
    "changed",
    [
        {"prompt": "DOE^JANE"},
        {"prompt": torch.zeros(4)},
        {"prompt": torch.zeros(3, device="meta")},
        {"diffusion": {"w": torch.ones(2), "patient-7": torch.ones(1)}},
        {"cases": "DOE^JANE"},
        {"cases": torch.tensor([12.0])},
        {"cases": torch.tensor([12, 13])},
        {"slices": {"patient-7": torch.tensor([1, 8]), "b": torch.tensor(17.0)}},
    ],
)
def test_a_payload_that_is_not_as_declared_is_refused(changed: dict[str, Any], units: int, tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        release(gate(tmp_path, round_counts_to=units), upload(**changed))
    assert refused.value.code is Code.NOT_AS_DECLARED
    assert "JANE" not in str(refused.value)


@pytest.mark.parametrize("units", [1, 5])
def test_something_hung_onto_the_object_is_refused(units: int, tmp_path: Path) -> None:
    smuggler = upload()
    object.__setattr__(smuggler, "patient", "DOE^JANE")
    with pytest.raises(Refused) as refused:
        release(gate(tmp_path, round_counts_to=units), smuggler)
    assert refused.value.code is Code.NOT_AS_DECLARED


def test_what_was_looked_at_is_what_leaves(tmp_path: Path) -> None:
    got = unpack(BLANK, MANIFEST, release(gate(tmp_path), upload(diffusion=Shifty(w=torch.ones(2)))))
    assert got.diffusion["w"].tolist() == [1.0, 1.0]


def test_the_byte_budget_is_the_last_byte(tmp_path: Path) -> None:
    release(gate(tmp_path / "enough", byte_budget=SIZE), upload())
    with pytest.raises(Refused) as refused:
        release(gate(tmp_path / "short", byte_budget=SIZE - 1), upload())
    assert refused.value.code is Code.OVER_BUDGET


def test_the_byte_budget_outlives_the_process(tmp_path: Path) -> None:
    for _ in range(2):
        release(gate(tmp_path, byte_budget=2 * SIZE), upload())
    with pytest.raises(Refused) as refused:
        release(gate(tmp_path, byte_budget=2 * SIZE), upload())
    assert refused.value.code is Code.OVER_BUDGET
    assert Ledger(tmp_path / "ledger.jsonl").bytes_released == 2 * SIZE


def test_what_comes_down_and_what_is_refused_cost_no_budget(tmp_path: Path) -> None:
    one = gate(tmp_path, byte_budget=SIZE)
    one.received(release(gate(tmp_path / "elsewhere"), upload()), MANIFEST, TURN, "learn")
    one.refuse(Code.NOT_FINITE, TURN, "learn")
    release(gate(tmp_path, byte_budget=SIZE), upload())


def test_counts_leave_rounded_and_nothing_else_does(tmp_path: Path) -> None:
    counted = upload(cases=torch.tensor([12]), slices={"a": torch.tensor([1, 8]), "b": torch.tensor(17.0)})
    got = unpack(BLANK, MANIFEST, release(gate(tmp_path, round_counts_to=5), counted))
    assert got.cases.tolist() == [10]
    assert (got.slices["a"].tolist(), got.slices["b"].item()) == ([5, 10], 15.0)
    assert torch.equal(got.prompt, upload().prompt)
    assert counted.cases.tolist() == [12]


@pytest.mark.parametrize(("count", "leaves"), [(0, 5), (1, 5), (-3, 5), (7, 5), (8, 10), (123_456_789, 123_456_790)])
def test_a_count_leaves_as_the_nearest_multiple_but_never_as_none(count: int, leaves: int, tmp_path: Path) -> None:
    got = unpack(BLANK, MANIFEST, release(gate(tmp_path, round_counts_to=5), upload(cases=torch.tensor([count]))))
    assert got.cases.tolist() == [leaves]


def test_counts_leave_as_they_are_where_the_policy_does_not_round(tmp_path: Path) -> None:
    got = unpack(BLANK, MANIFEST, release(gate(tmp_path), upload(cases=torch.tensor([0]))))
    assert got.cases.tolist() == [0]


def test_the_ledger_holds_the_digest_of_the_bytes_that_were_sent(tmp_path: Path) -> None:
    packed = release(gate(tmp_path, round_counts_to=5), upload())
    found = {row["field"]: row for row in rows(tmp_path)}
    joined = {
        "prompt": packed["prompt"],
        "diffusion": packed["diffusion/w"],
        "cases": packed["cases"],
        "slices": packed["slices/a"] + packed["slices/b"],
    }
    assert {field: row["sha256"] for field, row in found.items()} == {
        field: hashlib.sha256(data).hexdigest() for field, data in joined.items()
    }
    assert {field: (row["kind"], row["bytes"]) for field, row in found.items()} == {
        "prompt": ("prompt", 12),
        "diffusion": ("diffusion", 8),
        "cases": ("count", 8),
        "slices": ("count", 20),
    }
    assert {(row["event"], row["purpose"], row["step"], row["round"]) for row in found.values()} == {
        ("release", "learn", 2, 3)
    }


def test_a_refusal_is_written_down_by_its_name(tmp_path: Path) -> None:
    gate(tmp_path).refuse(Code.DATA_GONE, TURN, "learn")
    (row,) = rows(tmp_path)
    assert {key: row[key] for key in ("event", "purpose", "step", "round", "code")} == {
        "event": "refusal",
        "purpose": "learn",
        "step": 2,
        "round": 3,
        "code": "DATA_GONE",
    }


def test_what_came_down_is_written_down(tmp_path: Path) -> None:
    gate(tmp_path).received(release(gate(tmp_path / "server"), upload()), MANIFEST, TURN, "score")
    assert [(row["event"], row["field"], row["bytes"]) for row in rows(tmp_path)] == [
        ("received", "prompt", 12),
        ("received", "diffusion", 8),
        ("received", "cases", 8),
        ("received", "slices", 20),
    ]


def test_nothing_leaves_that_could_not_be_written_down(tmp_path: Path) -> None:
    one = gate(tmp_path)
    (tmp_path / "ledger.jsonl").unlink(missing_ok=True)
    (tmp_path / "ledger.jsonl").mkdir()
    with pytest.raises(OSError, match="directory"):
        release(one, upload())


def test_all_rows_of_a_gate_are_one_chain(tmp_path: Path) -> None:
    release(gate(tmp_path), upload())
    gate(tmp_path).refuse(Code.BUSY, TURN, "score")
    release(gate(tmp_path), replace(upload(), prompt=torch.zeros(3)))
    assert len(rows(tmp_path)) == 9
    assert first_broken(rows(tmp_path)) is None
