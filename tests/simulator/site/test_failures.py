"""Whatever goes wrong at a site leaves as a bare code; its text stays in the site's own log."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

from simulator.contract import Purpose, Reply
from sites.gate import Code
from sites.ledger import Ledger, first_broken
from sites.stream import Turn
from sites.vault import Vault
from tests.simulator.site.asked import Site
from tests.simulator.site.careless import CONSOLES, FAILURES, PATH, SECRET


@pytest.mark.parametrize("does", FAILURES)
def test_a_failing_strategy_tells_nothing_but_a_code(
    does: str, make: Callable[..., Site], capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    site = make(does)
    earlier = Vault(site.home.root / "vault", 0)
    earlier.keep("model", {"x": torch.ones(1)})
    earlier.commit()
    before = site.kept
    reply = site.answer()
    shown = capfd.readouterr()
    _, told, code = FAILURES[does]

    assert reply == Reply(code=code, site=0, fingerprint="")
    assert type(reply.code) is Code
    assert (shown.out, shown.err, caplog.text) == ("", "", "")
    assert (SECRET in site.log) == told
    assert "Traceback" in site.log
    assert {key: site.rows[-1][key] for key in ("event", "purpose", "step", "code")} == {
        "event": "refusal",
        "purpose": "learn",
        "step": 1,
        "code": code.name,
    }
    assert SECRET not in json.dumps(site.rows)
    assert first_broken(site.rows) is None
    assert site.kept == before
    assert before.keys() == {"turn-000000/model.safetensors"}


@pytest.mark.usefixtures("consoles")
def test_a_talking_strategy_is_heard_in_the_sites_log_alone(
    make: Callable[..., Site],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def as_python_does(*args: Any) -> None:
        print(warnings.formatwarning(*args[:4]), file=sys.stderr)

    site = make("talks")
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        monkeypatch.setattr(warnings, "showwarning", as_python_does)
        reply = site.answer()
    shown = capfd.readouterr()
    assert reply.code is Code.OK
    assert (shown.out, shown.err, caplog.text) == ("", "", "")
    for channel in ("print", "error", "root", "plain", *CONSOLES, "warning"):
        assert f"{channel}: {PATH}" in site.log


@pytest.mark.usefixtures("consoles")
@pytest.mark.parametrize("does", ["well", "raises", "takes the streams back", "interrupts"])
def test_after_a_message_the_driver_has_its_streams_and_loggers_back(does: str, make: Callable[..., Site]) -> None:
    def ends() -> tuple[Any, ...]:
        loggers = [logging.getLogger(name) for name in (None, *CONSOLES)]
        return sys.stdout, sys.stderr, *(list(logger.handlers) for logger in loggers)

    site = make(does)
    before = ends()
    try:
        site.answer()
    except KeyboardInterrupt:
        assert does == "interrupts"
    assert ends() == before


def test_an_interrupt_of_the_run_passes_through_and_leaves_the_vault_as_it_was(make: Callable[..., Site]) -> None:
    site = make("interrupts")
    with pytest.raises(KeyboardInterrupt):
        site.answer()
    assert site.kept == {}
    assert "release" not in {row["event"] for row in site.rows}


def test_data_that_cannot_be_read_are_named_in_the_log_alone(
    make: Callable[..., Site], capfd: pytest.CaptureFixture[str]
) -> None:
    site = make()
    site.source.unreadable = True
    for purpose in (Purpose.LEARN, Purpose.SCORE):
        assert site.answer(purpose) == Reply(code=Code.DATA_UNREADABLE, site=0, fingerprint="")
    assert capfd.readouterr() == ("", "")
    assert SECRET in site.log


def test_a_site_whose_log_cannot_be_written_does_nothing(
    make: Callable[..., Site], capfd: pytest.CaptureFixture[str]
) -> None:
    site = make("raises")
    (site.home.root / "site.log").mkdir()
    assert site.answer() == Reply(code=Code.SITE_ERROR, site=-1, fingerprint="")
    assert site.source.reads == 0
    assert capfd.readouterr() == ("", "")


def test_a_release_that_cannot_be_written_down_does_not_leave(
    make: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make()
    site.answer()
    kept = site.kept

    def full(self: Ledger, rows: Any) -> None:
        raise OSError(28, "No space left on device", PATH)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "append", full)
        assert site.answer(turn=Turn(step=1, round=2, serial=2)) == Reply(code=Code.SITE_ERROR, site=0, fingerprint="")
    assert site.kept == kept


def test_the_log_is_the_sites_and_survives_a_second_message(make: Callable[..., Site]) -> None:
    site = make("raises")
    site.answer()
    site.answer()
    assert site.log.count(f"RuntimeError: {PATH}#0") == 2
    assert [path.name for path in site.home.root.parent.iterdir()] == ["A"]
