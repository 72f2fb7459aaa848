"""The audit of a bench lays strategies side by side, and is loud where the default policy would have refused one."""

from __future__ import annotations

import json
from collections.abc import Callable
from html import unescape
from pathlib import Path

import jsonschema
import pytest

Wardround = Callable[..., tuple[int, str, str]]
SCHEMA = Path(__file__).parents[3] / "simulator" / "audit" / "audit.schema.json"


@pytest.mark.slow
def test_five_strategies_side_by_side(benched: Path, wardround: Wardround) -> None:
    code, out, _ = wardround("audit", benched)
    assert code == 0
    assert "but the default policy would have refused joint." in out
    assert "The default policy refuses joint: its sites let image and label out" in " ".join(out.split())
    told = json.loads((benched / "audit.json").read_text())
    jsonschema.validate(told, json.loads(SCHEMA.read_text()))
    kinds = {one["strategy"]: set(one["released"]) for one in told["compared"]}
    assert kinds == {
        "SMDR": {"prompt", "diffusion", "score"},
        "SMDR on site": {"prompt", "diffusion", "segmenter", "score"},
        "fedavg": {"segmenter", "count", "score"},
        "feddg": {"segmenter", "statistic", "count", "score"},
        "joint": {"image", "label", "score"},
    }
    assert {one["strategy"] for one in told["compared"] if one["outside"]} == {"joint"}
    html = unescape((benched / "audit.html").read_text())
    assert "The default policy would have refused joint" in html
    assert 'class="refuses">refuses image, label' in html

    (trial,) = [one["trial"] for one in told["trials"] if one["strategy"] == "fedavg"]
    receipts = benched / "trials" / trial / "receipts.jsonl"
    receipts.write_text("".join(receipts.read_text().splitlines(keepends=True)[1:]))
    code, out, _ = wardround("audit", benched)
    assert code == 1
    assert "This audit failed: 1 trial of 5 audited has findings" in out


def test_joint_training_under_the_default_policy_is_refused_before_any_data_are_read(
    wardround: Wardround, tiny: Callable[..., Path], tmp_path: Path
) -> None:
    code, _, err = wardround("run", tiny(strategy="joint"), "--out", tmp_path / "run")
    assert code == 2
    assert "does not admit image, label" in err
    assert not (tmp_path / "run").exists()
