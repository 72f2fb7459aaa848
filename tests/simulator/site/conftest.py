"""What the tests of a site share: one with a policy of its own, and loggers that have a console of their own."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from simulator.contract import agreed
from sites import sources
from sites.stream import SourceKind
from sites.wire import Kind
from tests.simulator.site.asked import NoSettings, Pacs, Site
from tests.simulator.site.careless import CONSOLES


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Site]:
    """Return a function that makes a site whose policy admits segmenters and scores."""
    source = Pacs()
    kind = SourceKind(config=NoSettings, open=lambda task, config, seed: source)
    monkeypatch.setattr(sources, "load", lambda name: kind)
    agreed.cache_clear()

    def build(does: str = "well", **keys: Any) -> Site:
        site = Site(tmp_path, source, does, **keys)
        site.admit(Kind.SEGMENTER, Kind.SCORE)
        return site

    return build


@pytest.fixture
def consoles() -> Iterator[None]:
    """Give two loggers a console of their own, as MONAI and nibabel have: one that also tells the root, one not."""
    loggers = [logging.getLogger(name) for name in CONSOLES]
    handler = logging.StreamHandler(sys.stderr)
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    loggers[1].propagate = False
    yield
    for logger in loggers:
        logger.removeHandler(handler)
