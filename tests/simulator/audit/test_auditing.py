"""An audit passes where both records agree, and fails with a name for each thing that does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from html import unescape
from pathlib import Path

import jsonschema
import pytest
import torch
from safetensors.torch import save_file

from simulator.audit.auditing import audit_run
from simulator.audit.schema import schema
from sites.ledger import Ledger

Run = Callable[..., Path]
Wardround = Callable[..., tuple[int, str, str]]
SCHEMA = Path(__file__).parents[3] / "simulator" / "audit" / "audit.schema.json"


def change_first(path: Path, event: str, **values: object) -> None:
    """Change the first row of an event, and leave its hash as it is."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    next(row for row in rows if row["event"] == event).update(values)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_run_that_went_well_passes(run_tiny: Run, wardround: Wardround) -> None:
    root = run_tiny()
    audit = audit_run(root)
    assert audit.findings == ()
    assert audit.verdict == "passed"
    assert [site.site for site in audit.sites] == ["A", "B", "E"]
    assert all(site.sealed for site in audit.sites)
    assert {entry.standing for entry in audit.sites[0].entries} == {"receipted", "received"}
    code, out, _ = wardround("audit", root)
    assert (code, out.strip().splitlines()[-1]) == (0, f"audit: {root / 'audit.html'}")
    jsonschema.validate(json.loads((root / "audit.json").read_text()), json.loads(SCHEMA.read_text()))
    html = unescape((root / "audit.html").read_text())
    assert all(limit in html for limit in audit.limits)
    assert "None" not in html
    assert wardround("audit", root, "--verify")[0] == 0


def test_the_shipped_schema_is_that_of_the_models() -> None:
    assert SCHEMA.read_text() == schema(), "write simulator.audit.schema.schema() to audit.schema.json"


def test_every_change_is_found_and_named(run_tiny: Run, wardround: Wardround) -> None:
    root = run_tiny()
    ledger, receipts = root / "sites" / "A" / "ledger.jsonl", root / "receipts.jsonl"
    whole, taken = ledger.read_text(), receipts.read_text()

    change_first(ledger, "release", bytes=1)
    found = {finding.what for finding in audit_run(root).findings}
    assert found == {"ledger", "differs", "undeclared"}
    code, out, _ = wardround("audit", root, "--verify")
    assert code == 1
    assert "A: In the site's ledger row 1 was edited." in out

    ledger.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    assert {finding.what for finding in audit_run(root).findings} == {"ledger", "no release"}

    ledger.write_text(whole)
    receipts.write_text("".join(taken.splitlines(keepends=True)[1:]))
    assert [finding.what for finding in audit_run(root).findings] == ["no receipt"]

    receipts.write_text(taken)
    policy = root / "sites" / "A" / "policy.yaml"
    policy.write_text("admit: [score]\n")
    assert {finding.what for finding in audit_run(root).findings} == {"policy", "kind"}
    assert wardround("audit", root)[0] == 1


@pytest.mark.parametrize("name", ["config.yaml", "receipts.jsonl", "seals.json", "sites/A/ledger.jsonl"])
def test_a_missing_file_is_exit_code_2(name: str, run_tiny: Run, wardround: Wardround) -> None:
    root = run_tiny()
    (root / name).unlink()
    code, _, err = wardround("audit", root)
    assert code == 2
    assert Path(name).name in err
    assert not (root / "audit.html").exists()


def test_a_turn_done_again_is_no_difference(run_tiny: Run) -> None:
    root = run_tiny()
    (root / "done").unlink()
    path = root / "sites" / "E" / "ledger.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    chained = ("serial", "previous", "hash")
    again = [{key: value for key, value in row.items() if key not in chained} for row in rows[-3:]]
    turn = {key: again[0][key] for key in ("purpose", "step", "round")}
    Ledger(path).append([{"event": "refusal", **turn, "code": "SITE_ERROR"}, *again])
    audit = audit_run(root)
    assert audit.findings == ()
    assert not audit.complete
    assert {entry.times for entry in audit.sites[2].entries[-3:]} >= {1, 2}


def test_a_refused_schedule_is_audited_before_it_runs(wardround: Wardround, tiny: Callable[..., Path]) -> None:
    assert wardround("audit", "--plan", tiny())[0] == 0
    code, out, _ = wardround("audit", "--plan", tiny(), "--set", "strategy=joint")
    assert code == 1
    assert "would not let image and label out" in out


def interrupted_learning(root: Path, code: str | None) -> None:
    """Make a run's folder one that ended as site B learnt: released by its ledger, no receipt, perhaps a refusal."""
    for name in ("done", "seals.json"):
        (root / name).unlink()
    receipts = root / "receipts.jsonl"
    rows = [json.loads(line) for line in receipts.read_text().splitlines()]
    last = ("B", "learn")
    kept = [row for row in rows if row["step"] < 2]
    receipts.write_text("".join(json.dumps(row) + "\n" for row in kept))
    path = root / "sites" / "B" / "ledger.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    place = next(row for row, line in enumerate(lines) if (json.loads(line)["purpose"], "B") == (last[1], last[0]))
    path.write_text("".join(lines[: place + 2]))
    for site in "AE":
        scored = root / "sites" / site / "ledger.jsonl"
        keep = [line for line in scored.read_text().splitlines(keepends=True) if json.loads(line)["step"] < 2]
        scored.write_text("".join(keep))
    if code is not None:
        row = json.loads(lines[place])
        turn = {key: row[key] for key in ("purpose", "step", "round")}
        Ledger(path).append([{"event": "refusal", **turn, "code": code}])


@pytest.mark.parametrize(
    ("code", "standing", "shown"),
    [(None, "open", "not confirmed: the run did not end"), ("SITE_ERROR", "withheld", "recorded, then not sent")],
)
def test_an_interrupted_release_is_open_or_withheld_and_no_finding(
    code: str | None, standing: str, shown: str, run_tiny: Run, wardround: Wardround
) -> None:
    root = run_tiny()
    interrupted_learning(root, code)
    audit = audit_run(root)
    assert audit.findings == ()
    assert not audit.complete
    released = [entry for entry in audit.sites[1].entries if entry.event == "release" and entry.purpose == "learn"]
    assert [entry.standing for entry in released] == [standing]
    counted = [total for total in audit.sites[1].released if total.purpose == "learn"]
    assert bool(counted) == (standing == "open")
    assert wardround("audit", root)[0] == 0
    assert shown in unescape((root / "audit.html").read_text())


def test_a_release_that_a_finished_run_never_receipted_is_at_fault(run_tiny: Run) -> None:
    root = run_tiny()
    receipts = root / "receipts.jsonl"
    lines = [line for line in receipts.read_text().splitlines(keepends=True) if json.loads(line)["site"] != "B"]
    receipts.write_text("".join(lines))
    audit = audit_run(root)
    assert {finding.what for finding in audit.findings} == {"no receipt"}
    assert {entry.standing for entry in audit.sites[1].entries} == {"at fault", "received"}


def test_more_bytes_than_the_budget_are_a_finding(run_tiny: Run) -> None:
    root = run_tiny()
    policy = root / "sites" / "A" / "policy.yaml"
    policy.write_text(policy.read_text().replace("byte_budget: null", "byte_budget: 10"))
    audit = audit_run(root)
    assert {finding.what for finding in audit.findings} == {"policy", "budget"}
    assert "the site's policy lets 10 out" in next(one.sentence for one in audit.findings if one.what == "budget")


def test_what_came_down_or_left_undeclared_is_a_finding(run_tiny: Run) -> None:
    root = run_tiny()
    (root / "done").unlink()
    path = root / "sites" / "A" / "ledger.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    received = next(row for row in rows if row["event"] == "received")
    bare = {key: value for key, value in received.items() if key not in ("serial", "previous", "hash")}
    Ledger(path).append([{**bare, "step": 9, "bytes": 3}, {**bare, "step": 9, "field": "atlas"}])
    found = audit_run(root).findings
    assert [one.what for one in found] == ["undeclared", "undeclared"]
    assert "came down as segmenter, 3 bytes, which the method does not declare" in found[0].sentence
    assert found[1].field == "atlas"


def test_a_group_kept_undeclared_is_a_finding(run_tiny: Run) -> None:
    root = run_tiny(strategy="scaffold")
    assert audit_run(root).findings == ()
    (version,) = sorted((root / "sites" / "B" / "vault").iterdir())[-1:]
    save_file({"step": torch.zeros(2)}, version / "step.safetensors")
    save_file({"pixels": torch.zeros(2)}, version / "atlas.safetensors")
    found = audit_run(root).findings
    assert [(one.site, one.what) for one in found] == [("B", "kept"), ("B", "kept")]
    assert "'atlas'" in found[0].sentence


def test_a_method_that_is_not_at_hand_is_said(run_tiny: Run) -> None:
    root = run_tiny()
    config = root / "config.yaml"
    config.write_text(config.read_text().replace("name: finetune", "name: elsewhere.method"))
    audit = audit_run(root)
    assert audit.findings == ()
    assert any("not at hand" in sentence for sentence in audit.sentences)
