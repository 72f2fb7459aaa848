"""The command on Ray: killed at any moment and started again, interrupted, and with a worker that dies."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pandas as pd
import pytest

from simulator.bench.checking import read_golden
from simulator.config import shipped
from tests.simulator.processes import processes_with, start

TABLES = ("results.csv", "results.parquet", "matrix.csv")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc"),
]

Command = Callable[..., "subprocess.Popen[str]"]
T = TypeVar("T")


def wait_for(holds: Callable[[], T], process: subprocess.Popen[str] | None = None, seconds: float = 240) -> T:
    """Wait until something holds, while a process goes on; return what held."""
    deadline = time.monotonic() + seconds
    while not (held := holds()):
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return held


@pytest.fixture
def mark() -> Iterator[str]:
    """A mark in the environment of every process of a test; those left at its end are killed."""
    made = f"WARDROUND_TEST_{uuid.uuid4().hex}"
    yield made
    for number in processes_with(made):
        os.kill(number, signal.SIGKILL)


@pytest.fixture
def command(suite: Callable[..., Path], mark: str, tmp_path: Path) -> Command:
    """Return a function that starts `wardround bench` on a suite of four trials of some seconds each."""
    path = suite(seeds=2)

    def begin(out: str) -> subprocess.Popen[str]:
        settings = ("--set", "budget.iterations=60", "--out", tmp_path / out, "--parallel", "2")
        return start("bench", path, *settings, mark=mark, cwd=tmp_path)

    return begin


def begun(folder: Path) -> list[Path]:
    """Return the score tables that trials have begun to write."""
    return [path for path in folder.glob("trials/*/scores.jsonl") if path.stat().st_size]


def ended(folder: Path) -> int:
    return len(list(folder.glob("trials/*/trial.json")))


def test_killed_again_and_again_it_ends_with_the_same_tables(command: Command, mark: str, tmp_path: Path) -> None:
    whole = command("whole")
    _, said = whole.communicate(timeout=600)
    assert whole.returncode == 0, said
    out = tmp_path / "killed"
    for moment in (lambda: begun(out), lambda: ended(out) >= 1):
        process = command("killed")
        wait_for(moment, process)
        process.kill()
        process.communicate()
    assert not (out / "results.csv").exists()
    last = command("killed")
    _, err = last.communicate(timeout=600)
    assert last.returncode == 0, err
    for name in TABLES:
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    wait_for(lambda: processes_with(mark) == [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_says_how_to_go_on_and_leaves_no_process(
    command: Command, mark: str, tmp_path: Path, number: signal.Signals
) -> None:
    process = command("out")
    wait_for(lambda: begun(tmp_path / "out"), process)
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "Traceback" not in err
    assert err.strip().splitlines()[-1] == "stopped; to go on, give the same command again"
    wait_for(lambda: processes_with(mark) == [])


def worker_of(mark: str) -> list[int]:
    """Return the processes that run a trial now: Ray names them after what they do."""
    found = []
    for number in processes_with(mark):
        name = Path(f"/proc/{number}/cmdline")
        if name.exists() and b"ray::_Worker.run" in name.read_bytes():
            found.append(number)
    return found


def test_a_trial_whose_worker_dies_is_run_again_once(command: Command, mark: str, tmp_path: Path) -> None:
    process = command("out")
    worker, *_ = wait_for(lambda: begun(tmp_path / "out") and worker_of(mark), process)
    os.kill(worker, signal.SIGKILL)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert set(pd.read_csv(tmp_path / "out" / "results.csv")["status"]) == {"done"}


def test_a_trial_whose_workers_keep_dying_is_failed_and_the_others_are_run(
    command: Command, mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deadly.py").write_text(
        "import os, signal\n"
        "from dataclasses import replace\n"
        "from strategies.finetune import STRATEGY as FINETUNE\n"
        "def learn(*_):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "STRATEGY = replace(FINETUNE, learn=learn)\n"
    )
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "deadly.py").rename(tmp_path / "elsewhere" / "deadly.py")
    (tmp_path / "elsewhere" / "__init__.py").write_text("")
    path = tmp_path / "suite.yaml"
    path.write_text(path.read_text().replace("- finetune\n", "- elsewhere.deadly\n- finetune\n", 1))
    process = command("out")
    _, err = process.communicate(timeout=600)
    assert process.returncode == 1, err
    table = pd.read_csv(tmp_path / "out" / "results.csv").set_index("strategy")
    assert set(table.loc["elsewhere.deadly"]["reason"]) == {"its worker process died, twice"}
    assert set(table.loc["finetune"]["status"]) == {"done"}


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ("trial_seconds: 60", "took longer than the suite's trial_seconds, 60 s"),
        ("", "no turn of it ended in 60 s, all that its schedule's limits.reply_seconds allow"),
    ],
)
def test_a_trial_that_hangs_is_failed_goes_on_later_and_holds_up_no_other(
    limit: str, reason: str, command: Command, mark: str, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "hanging.py").write_text(
        "import time\n"
        "from dataclasses import replace\n"
        "from pathlib import Path\n"
        "from strategies.finetune import STRATEGY as FINETUNE\n"
        f"RELEASED = Path({str(tmp_path / 'released')!r})\n"
        "def learn(config, setting, down, arrival, vault):\n"
        "    while arrival.step == 2 and not RELEASED.exists():\n"
        "        time.sleep(0.1)\n"
        "    return FINETUNE.learn(config, setting, down, arrival, vault)\n"
        "STRATEGY = replace(FINETUNE, learn=learn)\n"
    )
    (tmp_path / "elsewhere" / "__init__.py").write_text("")
    path = tmp_path / "suite.yaml"
    text = path.read_text().replace("seeds: 2", f"seeds: 1\n{limit}")
    hanging = "- {name: elsewhere.hanging, set: {limits.reply_seconds: 15}}\n"
    path.write_text(text.replace("- finetune\n", f"{hanging}- finetune\n", 1))
    process = command("out")
    out, err = process.communicate(timeout=600)
    assert process.returncode == 1, err
    assert f"failed: tiny, elsewhere.hanging, A-B, seed 0: {reason}" in out
    table = pd.read_csv(tmp_path / "out" / "results.csv").set_index("strategy")
    assert table["status"].to_dict() == {"elsewhere.hanging": "failed", "finetune": "done", "joint": "done"}
    wait_for(lambda: processes_with(mark) == [])
    (tmp_path / "released").write_text("")
    process = command("out")
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err


def test_the_smoke_suite_gives_its_golden_figures(mark: str, tmp_path: Path) -> None:
    golden = shipped("suites")["smoke"].parent / "results" / "smoke.json"
    assert len(read_golden(golden).trials) == 12
    process = start("bench", "smoke", "--check", golden, mark=mark, cwd=tmp_path)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err
