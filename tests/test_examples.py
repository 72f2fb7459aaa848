"""The example of a strategy from outside: found by dotted name and by entry point, and run."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import strategies
from simulator.store import Store
from strategies import known, load
from strategies.common.segmenter import build_segmenter
from strategies.setting import Setting

EXAMPLE = Path(__file__).parent.parent / "examples" / "fedmedian"


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "fedmedian"]:
        del sys.modules[name]


@pytest.fixture
def installed(importable: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As `pip install` leaves it: beside the modules stand the metadata, with the entry points of pyproject.toml."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    info = tmp_path / "site" / f"wardround_fedmedian-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    ((group, points),) = project["entry-points"].items()
    lines = [f"[{group}]", *(f"{name} = {place}" for name, place in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(info.parent))
    strategies._installed.cache_clear()
    yield
    strategies._installed.cache_clear()


@pytest.mark.usefixtures("importable")
def test_it_runs_by_its_dotted_name(run_tiny: Callable[..., Path]) -> None:
    assert Store(run_tiny(strategy="fedmedian.median", stay=1)).done


@pytest.mark.usefixtures("installed")
def test_it_runs_by_its_entry_point(run_tiny: Callable[..., Path]) -> None:
    assert "fedmedian" in known()
    assert Store(run_tiny(strategy={"name": "fedmedian", "pace": 0.5}, stay=1)).done


@pytest.mark.usefixtures("importable")
def test_it_takes_the_median(plain: Setting) -> None:
    module = load("fedmedian.median")
    server = module.server(module.config(), plain)
    weights = build_segmenter(plain).state_dict()
    ups = {
        site: type(server.broadcast("A", 1))(segmenter={name: value + shift for name, value in weights.items()})
        for site, shift in (("A", 1), ("B", 2), ("C", 90))
    }
    server.absorb(ups, 1)
    for name, value in server.predictor("A").state_dict().items():
        torch.testing.assert_close(value, weights[name] + 2)
