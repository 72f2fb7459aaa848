"""Stock Flower, as `flwr run .` starts it: the same two apps, and the same bits as in one process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.simulator.processes import ROOT, processes_with

FLWR = Path(sys.executable).parent / "flwr"


@pytest.fixture
def flower_home(tmp_path: Path) -> Iterator[Path]:
    """A home for Flower; the SuperLink that `flwr run` leaves behind is stopped at the end."""
    home = tmp_path / "flower-home"
    yield home
    for number in processes_with(f"FLWR_HOME={home}"):
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.skipif(not FLWR.exists(), reason="needs the command flwr beside this Python")
def test_flwr_run_gives_the_bits_of_one_process(
    run_tiny: Callable[..., Path], tmp_path: Path, flower_home: Path
) -> None:
    whole = run_tiny("whole", name="tiny")
    settings = f'run-dir="{tmp_path / "run"}" schedule="{tmp_path / "tiny.yaml"}"'
    nodes = "num-supernodes=3 client-resources-num-cpus=1 init-args-num-cpus=2"
    quiet = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    apart = {"FLWR_HOME": str(flower_home), "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1"}
    path = f"{FLWR.parent}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        [FLWR, "run", ".", "--stream", "--federation-config", nodes, "-c", settings],
        cwd=ROOT,
        env={**os.environ, **quiet, **apart, "PATH": path},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert (tmp_path / "run" / "done").exists(), result.stdout + result.stderr
    assert (tmp_path / "run" / "scores.jsonl").read_bytes() == (whole / "scores.jsonl").read_bytes()
    shutil.rmtree(tmp_path / "run")
