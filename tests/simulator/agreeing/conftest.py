"""What the tests of secure aggregation share: policies that ask for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.simulator.agreeing.masked import ADMIT, Policy


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    """Return a function that writes a policy and returns its path."""

    def write(name: str = "summed", **settings: Any) -> str:
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"admit": ADMIT, **settings}))
        return str(path)

    return write
