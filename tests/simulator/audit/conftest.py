"""What the tests of the audit share: a bench that was run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Wardround = Callable[..., tuple[int, str, str]]
LITTLE = (
    *("--set", "source.slices=1", "--set", "cases.train=3", "--set", "cases.held_out=1"),
    *("--set", "budget.iterations=2", "--set", "network.widths=[4, 8]"),
)


@pytest.fixture
def benched(here: list[str], wardround: Wardround, tmp_path: Path) -> Path:
    """The shipped suite of audits, its schedule made smaller, run in this process."""
    code, out, err = wardround("bench", "audit", *LITTLE, "--out", tmp_path / "bench")
    assert code == 0, out + err
    assert len(here) == 5
    return tmp_path / "bench"
