"""A deployment gives the bits of one process, its wire is accounted for, and what a site smuggles out shows."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from simulator.audit.auditing import audit_run
from simulator.flower import deployment
from simulator.flower.enclosure import can_part
from simulator.flower.launch import launch
from simulator.flower.server_app import Silence
from simulator.schedule import read_schedule
from simulator.store import Store
from simulator.terminal import Bar
from tests.simulator.flower.smuggler import LOOT

ROOT = Path(__file__).parents[3]
Wardround = Callable[..., tuple[int, str, str]]
SHORT = {"arrivals": ["A"], "unseen": ["E"]}


def test_the_command_deploys_where_it_is_asked_to(
    tiny: Callable[..., Path], wardround: Wardround, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed = []

    def beside(store: Store, progress: Bar) -> None:
        deployed.append(store.root)
        launch(store, "local", progress)

    monkeypatch.setattr(deployment, "deploy", beside)
    code, out, _ = wardround("run", tiny(**SHORT), "--grid", "wire", "--out", "run")
    assert (code, deployed) == (0, [Path("run")])
    assert "report: run/report.html" in out


def test_a_deployment_without_flowers_commands_says_so(
    tiny: Callable[..., Path], wardround: Wardround, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployment.shutil, "which", lambda *_, **__: None)
    code, _, err = wardround("run", tiny(**SHORT), "--grid", "wire", "--out", "run")
    assert (code, "the command flower-superlink is not there" in err) == (1, True)
    code, out, _ = wardround("audit", "run")
    assert (code, "0 bytes are unexplained" in out) == (0, True)


@pytest.mark.slow
@pytest.mark.skipif(not can_part(), reason="this machine does not let us make network namespaces")
def test_a_deployment_is_the_same_run_and_its_wire_hides_nothing(
    run_tiny: Callable[..., Path], tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_tiny("whole", **SHORT)
    store = Store.create(tmp_path / "run", read_schedule(tiny(**SHORT)))
    with socket.create_server(("127.0.0.1", 0)) as outside:
        outside.settimeout(1.0)
        monkeypatch.setenv("WARDROUND_TEST_OUTSIDE", str(outside.getsockname()[1]))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))
        deployment.deploy(store, Silence(), "tests.simulator.flower.smuggler")
        with pytest.raises(TimeoutError):
            outside.accept()

    assert (store.root / "scores.jsonl").read_bytes() == (whole / "scores.jsonl").read_bytes()
    assert (store.root / "receipts.jsonl").read_bytes() == (whole / "receipts.jsonl").read_bytes()
    tried = (store.home("A").root / "log.txt").read_text().split()
    assert tried[1::2] == ["ConnectionRefusedError", "sent"]

    audit = audit_run(store.root)
    assert audit.wire is not None
    assert audit.wire.apart
    smuggler, honest = audit.wire.sites
    assert (honest.unexplained, honest.surplus) == (0, ())
    assert smuggler.unexplained == len(LOOT)
    assert [(finding.site, finding.what) for finding in audit.findings] == [("A", "wire")]
    for site in (smuggler, honest):
        assert site.fields == site.rows > 0
        assert site.up == site.released + site.framing + site.unexplained
        assert site.framing <= site.bound
        assert site.requests <= site.call_bound
        assert len(site.code) == 1
    assert not running_in(tmp_path)


def running_in(folder: Path) -> list[str]:
    """Return the processes that a deployment of a run folder has left behind."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command and "flower" in command:
            found.append(command)
    return found
