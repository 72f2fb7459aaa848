"""What the tests of the harness share: the command, and the trials of a bench, in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from simulator.cli import main

if TYPE_CHECKING:
    from simulator.bench.results import Results

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


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let trials run one after another in this process and draw no report; return the identities as they begin."""
    from simulator.bench import farm, running
    from simulator.bench.farm import Event, Job
    from simulator.bench.work import run_trial

    begun: list[str] = []

    def serially(
        jobs: Sequence[Job], *, address: str | None, parallel: int | None, seconds: float | None
    ) -> Generator[Event | None, None, None]:
        for job in jobs:
            begun.append(job.identity)
            yield Event(identity=job.identity)
            yield Event(identity=job.identity, ending=run_trial(job.root, job.schedule))
            yield None

    def briefly(results: Results, folder: Path) -> tuple[Path, ...]:
        return (folder / "report.html",)

    monkeypatch.setattr(farm, "farm", serially)
    monkeypatch.setattr(running, "write_outputs", briefly)
    return begun
