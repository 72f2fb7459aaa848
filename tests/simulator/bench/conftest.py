"""What the tests of a bench share: a tiny suite, and a way to run its trials in this process."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import pytest
import yaml

SUITE = {
    "schedules": ["tiny.yaml"],
    "strategies": ["finetune", {"name": "joint", "policy": "reference-only"}],
    "orders": 1,
    "seeds": 1,
    "reference": "joint",
}


@pytest.fixture
def suite(tiny: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a tiny suite beside a tiny schedule, some keys replaced (None: left out)."""

    def write(**keys: object) -> Path:
        if not (tmp_path / "tiny.yaml").exists():
            tiny()
        path = tmp_path / "suite.yaml"
        content = {key: value for key, value in {**SUITE, **keys}.items() if value is not None}
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    return write


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let trials run one after another in this process, not on Ray; return the identities as they begin."""
    from simulator.bench import farm
    from simulator.bench.farm import Event, Job
    from simulator.bench.work import run_trial

    begun: list[str] = []

    def serially(
        jobs: Sequence[Job], *, address: str | None, parallel: int | None
    ) -> Generator[Event | None, None, None]:
        for job in jobs:
            begun.append(job.identity)
            yield Event(identity=job.identity)
            yield Event(identity=job.identity, ending=run_trial(job.root, job.schedule))
            yield None

    monkeypatch.setattr(farm, "farm", serially)
    return begun


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Return a function that returns what was printed on standard output since its last call."""
    from simulator import terminal

    paper = io.StringIO()
    monkeypatch.setattr(terminal.out, "file", paper)

    def since() -> str:
        text = paper.getvalue()
        paper.seek(0)
        paper.truncate()
        return text

    return since
