"""What a bench reads off a trial's folder: whether a site was segmented by a network of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from simulator.bench.collecting import is_sited
from simulator.store import Store


@pytest.mark.parametrize(
    ("strategy", "sited"),
    [
        ("finetune", False),
        ({"name": "ewc", "statistics": "newest"}, False),
        ({"name": "ewc", "statistics": "own"}, True),
        ("per_site", True),
        ("fedbn", True),
    ],
)
def test_it_is_seen_whether_an_image_s_site_must_be_known(
    strategy: object, sited: bool, run_tiny: Callable[..., Path]
) -> None:
    assert is_sited(Store(run_tiny(strategy=strategy))) is sited
