"""What ships with the project is found wherever the command runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import simulator


def test_another_package_of_the_name_benchmarks_does_not_hide_what_ships(tmp_path: Path) -> None:
    foreign = tmp_path / "benchmarks"
    foreign.mkdir()
    (foreign / "__init__.py").touch()
    code = (
        "from simulator.config import shipped; print(*(name in shipped('suites') for name in ('quickstart', 'smoke')))"
    )
    path = os.pathsep.join((str(tmp_path), str(Path(simulator.__file__).parents[1])))
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert found.stdout.split() == ["True", "True"]
