"""What the tests of the harness share: the command, called in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from simulator.cli import main

Wardround = Callable[..., tuple[int, str, str]]


@pytest.fixture
def wardround(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Wardround:
    """Return a function that calls the command here, in a folder of its own: exit code, standard output and error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        from simulator import terminal

        monkeypatch.setattr(terminal.out, "file", sys.stdout)
        monkeypatch.setattr(terminal.err, "file", sys.stderr)
        monkeypatch.setattr(sys, "argv", ["wardround", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        written = capfd.readouterr()
        return int(ended.value.code or 0), written.out, written.err

    return call
