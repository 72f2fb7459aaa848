"""An audit passes where both records agree, and fails with a name for each thing that does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from html import unescape
from pathlib import Path

import jsonschema
import pytest

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
    assert found == {"ledger", "differs"}
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
