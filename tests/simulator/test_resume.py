"""A run that is killed at any moment and resumed gives the scores of one that was not, bit for bit."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from simulator.flower.launch import launch
from simulator.flower.server_app import Silence
from simulator.schedule import read_schedule
from simulator.store import Store
from sites.errors import UserError
from sites.ledger import first_broken, read_rows

# In a process of its own a run reports each file that it opens or renames: the points at which it may be killed.
POINTS = ("open", "os.rename", "os.link", "os.mkdir", "shutil.rmtree")
KEYS = {"strategy": "fedavg", "stay": 1, "budget": {"iterations": 2, "rounds": 2, "batch": 3}}


def run_until(folder: Path, last: int | None, counted: Path) -> None:
    """Run a store, and die by SIGKILL at the file operation number `last`; write down how many there were."""
    seen = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event in POINTS and str(folder) in str(arguments[0]):
            seen += 1
            if seen == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    launch(Store(folder), "local", Silence())
    counted.write_text(str(seen))


def in_a_process(folder: Path, last: int | None = None) -> int:
    """Do so in a process of its own; return its exit code."""
    process = multiprocessing.get_context("fork").Process(
        target=run_until, args=(folder, last, folder.parent / "counted")
    )
    process.start()
    process.join(timeout=120)
    assert process.exitcode is not None
    return process.exitcode


@pytest.fixture
def uninterrupted(run_tiny: Callable[..., Path], tmp_path: Path) -> tuple[Path, int]:
    """A run that went through, and the number of its file operations."""
    folder = run_tiny("whole", **KEYS)
    again = Store.create(tmp_path / "again", read_schedule(folder / "config.yaml"))
    assert in_a_process(again.root) == 0
    assert (again.root / "scores.jsonl").read_bytes() == (folder / "scores.jsonl").read_bytes()
    return folder, int((tmp_path / "counted").read_text())


def kill_and_resume(whole: Path, folder: Path, points: list[int]) -> None:
    """Kill a run at one point after another, then let it end; compare it with the whole run."""
    Store.create(folder, read_schedule(whole / "config.yaml"))
    for point in points:
        assert in_a_process(folder, point) == -signal.SIGKILL
        assert not (folder / "done").exists()
    assert in_a_process(folder) == 0
    for name in ("scores.jsonl", "checkpoint.safetensors", "predictors/step-002.safetensors"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), (name, points)
    for site in ("A", "B", "E"):
        assert first_broken(read_rows(folder / "sites" / site / "ledger.jsonl")) is None


def test_killed_at_several_moments_and_resumed(uninterrupted: tuple[Path, int], tmp_path: Path) -> None:
    whole, operations = uninterrupted
    assert operations > 100
    for share in (0.2, 0.5, 0.8):
        kill_and_resume(whole, tmp_path / f"killed-{share}", [int(operations * share)])


def test_killed_again_and_again(uninterrupted: tuple[Path, int], tmp_path: Path) -> None:
    whole, operations = uninterrupted
    kill_and_resume(whole, tmp_path / "killed", [operations // 3, operations // 4, 30])


@pytest.mark.slow
def test_killed_at_thirty_moments_and_resumed(uninterrupted: tuple[Path, int], tmp_path: Path) -> None:
    whole, operations = uninterrupted
    for number in range(30):
        kill_and_resume(whole, tmp_path / f"killed-{number}", [1 + operations * number // 30])


def test_lines_cut_short_by_a_kill_are_mended(run_tiny: Callable[..., Path], tmp_path: Path) -> None:
    whole = run_tiny("whole")
    folder = tmp_path / "cut"
    Store.create(folder, read_schedule(whole / "config.yaml"))
    assert in_a_process(folder, 60) == -signal.SIGKILL
    for name in ("scores.jsonl", "receipts.jsonl", "sites/A/ledger.jsonl"):
        with (folder / name).open("a") as file:
            file.write('{"serial": 99, "ev')
    assert in_a_process(folder) == 0
    assert (folder / "scores.jsonl").read_bytes() == (whole / "scores.jsonl").read_bytes()
    assert first_broken(read_rows(folder / "sites" / "A" / "ledger.jsonl")) is None
    read_rows(folder / "receipts.jsonl")


def test_a_run_folder_serves_one_process_at_a_time(run_tiny: Callable[..., Path]) -> None:
    store = Store(run_tiny())
    with store.held(), pytest.raises(UserError, match="another process is running it"), store.held():
        pass
