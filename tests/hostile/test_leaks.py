"""Every hostile strategy is refused, kept in the site's log, or goes by a channel that the audit names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from simulator.audit.auditing import audit_run
from simulator.flower.launch import launch
from simulator.flower.server_app import Silence
from simulator.loop import SitesFailed
from simulator.schedule import read_schedule
from simulator.store import Store
from tests.hostile import count_field, refusal_code, scores_at_home
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
TAKEN: dict[str, Callable[[torch.Tensor, torch.Tensor], bool]] = {
    "mislabelled_kind": lambda taken, images: bool((taken == images[0]).all()),
    "count_field": lambda taken, images: (
        [int(taken) // count_field.UNIT >> place & 1 for place in range(count_field.BITS)]
        == count_field.bits_of(images).tolist()
    ),
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
    code = refusal_code.code_for(case.images) if attempt.channel == "codes" else attempt.code
    if code is not None:
        with pytest.raises(SitesFailed) as failed:
            launch(store, "local", Silence())
        assert [failure.code for failure in failed.value.failures] == [code]
    else:
        launch(store, "local", Silence())
    shown = "".join(capfd.readouterr())
    audit = audit_run(store.root)
    assert [found.what for found in audit.findings] == (["kept"] if attempt.name == "retained_image" else [])
    if code is not None:
        assert audit.sites[0].refusals == {code.name: 1}
    assert (case.patient in shown) == (attempt.channel == "output")
    bits = {channel.name: channel.bits for channel in audit.channels}
    assert attempt.channel is None or bits[attempt.channel] is None or bits[attempt.channel] > 0
    if attempt.verdict == "kept in the site's own log":
        assert case.patient in (store.home("A").root / "site.log").read_text()
    if attempt.channel is None:
        elsewhere = [path for path in store.root.rglob("*") if path.is_file() and "sites" not in path.parts]
        assert all(case.images.numpy().tobytes() not in path.read_bytes() for path in elsewhere)
    if attempt.name in DECODED:
        weights = store.predictors("A")[len(arrivals)]
        room = max(weights.values(), key=torch.numel).flatten()
        pixels = case.images.flatten()[: len(room)]
        wanted = (pixels > 0.5).float() if attempt.name == "negative_zero" else pixels
        assert torch.allclose(DECODED[attempt.name](room, pixels)[: len(pixels)], wanted, atol=1 / 255)
    if attempt.name in TAKEN:
        with safe_open(store.root / "checkpoint.safetensors", framework="pt") as checkpoint:
            assert TAKEN[attempt.name](checkpoint.get_tensor("taken"), case.images)
    if attempt.channel == "scores":
        told = store.scores().query("site == 'A' and step == 1")["dice"].item() > 0
        assert told == scores_at_home.bright(schedule.source.held_out("A", 1)[0].images)
    if attempt.channel == "code":
        assert (tmp_path / "left.bin").read_bytes() == case.images.numpy().tobytes()
    if attempt.channel == "timing":
        times = [row["wall_seconds"] for row in store.times() if row["purpose"] == "learn"]
        assert times[0] >= 0.4


def test_the_table_in_the_docs_is_that_of_the_list() -> None:
    assert table() in (ROOT / "docs" / "leaks.md").read_text(), "put tests.hostile.attempts.table() into docs/leaks.md"
