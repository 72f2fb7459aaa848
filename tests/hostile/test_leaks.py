"""Every hostile strategy is refused, kept in the site's log, or goes by a channel that the audit names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from simulator.audit.auditing import audit_run
from simulator.flower.launch import launch
from simulator.flower.server_app import Silence
from simulator.loop import SitesFailed
from simulator.schedule import read_schedule
from simulator.store import Store
from tests.hostile.attempts import ATTEMPTS, Attempt, table

ROOT = Path(__file__).parents[2]
SHORT = {"unseen": [], "arrivals": ["A"], "budget": {"iterations": 1, "batch": 3}}
DECODED = {
    "weights_hold_image": lambda weights, image: weights,
    "retained_image": lambda weights, image: weights,
    "low_bits": lambda weights, image: (weights.view(torch.int32) & 0xFF) / 255,
    "denormals": lambda weights, image: weights.view(torch.int32) / 255,
    "negative_zero": lambda weights, image: torch.signbit(weights).float(),
}


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.name)
def test_an_attempt_has_the_verdict_of_the_list(
    attempt: Attempt,
    tiny: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    arrivals = ["A", "B"] if attempt.name == "timing" else ["A", "A"] if attempt.name == "retained_image" else ["A"]
    keys = {**SHORT, "arrivals": arrivals, "strategy": f"tests.hostile.{attempt.name}"}
    schedule = read_schedule(tiny(**keys))
    store = Store.create(tmp_path / "run", schedule)
    case = schedule.source.train("A", 0, 1)[0]
    if attempt.code is not None:
        with pytest.raises(SitesFailed) as failed:
            launch(store, "local", Silence())
        assert [failure.code for failure in failed.value.failures] == [attempt.code]
    else:
        launch(store, "local", Silence())
    shown = "".join(capfd.readouterr())
    audit = audit_run(store.root)
    assert audit.findings == ()
    if attempt.code is not None:
        assert audit.sites[0].refusals == {attempt.code.name: 1}
    assert (case.patient in shown) == (attempt.channel == "output")
    assert attempt.channel is None or attempt.channel in {channel.name for channel in audit.channels}
    if attempt.channel is None:
        elsewhere = [path for path in store.root.rglob("*") if path.is_file() and "sites" not in path.parts]
        assert all(case.images.numpy().tobytes() not in path.read_bytes() for path in elsewhere)
    if attempt.name in DECODED:
        weights = store.predictors("A")[len(arrivals)]
        room = max(weights.values(), key=torch.numel).flatten()
        pixels = case.images.flatten()[: len(room)]
        wanted = (pixels > 0.5).float() if attempt.name == "negative_zero" else pixels
        assert torch.allclose(DECODED[attempt.name](room, pixels)[: len(pixels)], wanted, atol=1 / 255)
    if attempt.channel == "code":
        assert (tmp_path / "left.bin").read_bytes() == case.images.numpy().tobytes()
    if attempt.channel == "timing":
        times = [row["wall_seconds"] for row in store.times() if row["purpose"] == "learn"]
        assert times[0] >= 0.4


def test_the_table_in_the_docs_is_that_of_the_list() -> None:
    assert table() in (ROOT / "docs" / "leaks.md").read_text(), "put tests.hostile.attempts.table() into docs/leaks.md"
