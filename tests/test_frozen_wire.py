"""The literal set of what leaves a site: a change here is a change of what is released, and a line in CHANGELOG.md."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from simulator.contract import Purpose, Reply, contracts_of
from simulator.flower.records import from_reply
from simulator.schedule import read_schedule
from sites.gate import Code
from sites.wire import Kind, Manifest
from strategies import known

# A segmenter of widths 4 and 8, without residual units, for one grey structure.
SEGMENTER = [
    ("model.0.adn.A.weight", "float32", (1,)),
    ("model.0.adn.N.bias", "float32", (4,)),
    ("model.0.adn.N.num_batches_tracked", "int64", ()),
    ("model.0.adn.N.running_mean", "float32", (4,)),
    ("model.0.adn.N.running_var", "float32", (4,)),
    ("model.0.adn.N.weight", "float32", (4,)),
    ("model.0.conv.bias", "float32", (4,)),
    ("model.0.conv.weight", "float32", (4, 1, 3, 3)),
    ("model.1.submodule.adn.A.weight", "float32", (1,)),
    ("model.1.submodule.adn.N.bias", "float32", (8,)),
    ("model.1.submodule.adn.N.num_batches_tracked", "int64", ()),
    ("model.1.submodule.adn.N.running_mean", "float32", (8,)),
    ("model.1.submodule.adn.N.running_var", "float32", (8,)),
    ("model.1.submodule.adn.N.weight", "float32", (8,)),
    ("model.1.submodule.conv.bias", "float32", (8,)),
    ("model.1.submodule.conv.weight", "float32", (8, 4, 3, 3)),
    ("model.2.conv.bias", "float32", (1,)),
    ("model.2.conv.weight", "float32", (12, 1, 3, 3)),
]

UPLOADS: dict[str, list[tuple[str, Kind, str, tuple[int, ...]]]] = {
    "finetune": [(f"segmenter/{name}", Kind.SEGMENTER, dtype, shape) for name, dtype, shape in SEGMENTER],
    "fedavg": [
        *[(f"segmenter/{name}", Kind.SEGMENTER, dtype, shape) for name, dtype, shape in SEGMENTER],
        ("cases", Kind.COUNT, "int64", (1,)),
    ],
    "joint": [
        ("images", Kind.IMAGE, "float32", (3, 1, 32, 32)),
        ("masks", Kind.LABEL, "uint8", (3, 1, 32, 32)),
        ("held", Kind.LABEL, "int64", (1,)),
    ],
}


def literal(manifest: Manifest) -> list[tuple[str, Kind, str, tuple[int, ...]]]:
    return [(leaf.key, leaf.kind, leaf.dtype, leaf.shape) for leaf in manifest]


def test_no_strategy_is_left_out() -> None:
    assert set(UPLOADS) == set(known())


@pytest.mark.parametrize("name", sorted(UPLOADS))
def test_a_strategy_releases_this_and_nothing_else(name: str, tiny: Callable[..., Path]) -> None:
    contracts = contracts_of(read_schedule(tiny(strategy=name)))
    assert literal(contracts[Purpose.LEARN].up.manifest) == UPLOADS[name]


def test_scoring_releases_this_and_nothing_else(tiny: Callable[..., Path]) -> None:
    contracts = contracts_of(read_schedule(tiny()))
    assert literal(contracts[Purpose.SCORE].up.manifest) == [
        ("values", Kind.SCORE, "float32", (1, 1, 3)),
        ("held", Kind.SCORE, "int64", (1,)),
    ]


def test_the_envelope_of_a_reply_is_this_and_nothing_else() -> None:
    record = from_reply(Reply(code=Code.OK, site=3, fingerprint="0123456789abcdef", body={"cases": b"12345678"}))
    assert dict(record.config_records["reply"]) == {"code": 0, "site": 3, "fingerprint": "0123456789abcdef"}
    assert set(record) == {"reply", "body"}
    assert {key: array.data for key, array in record.array_records["body"].items()} == {"cases": b"12345678"}
