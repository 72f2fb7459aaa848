"""An audit passes where both records agree, and fails with a name for each thing that does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from simulator.audit.auditing import audit_run

Run = Callable[..., Path]


def test_a_run_that_went_well_passes(run_tiny: Run) -> None:
    audit = audit_run(run_tiny())
    assert audit.findings == ()
    assert audit.verdict == "passed"
    assert audit.complete
    assert [site.site for site in audit.sites] == ["A", "B", "E"]
    assert all(site.sealed for site in audit.sites)
    assert {entry.standing for entry in audit.sites[0].entries} == {"receipted", "received"}
