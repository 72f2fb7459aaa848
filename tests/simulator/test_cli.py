"""The command: exit codes, messages, and what a person sees."""

from __future__ import annotations

import json
import os
import re
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from sites.ledger import read_rows
from tests.simulator.processes import processes_with, start

Tiny = Callable[..., Path]
Run = Callable[..., Path]
Wardround = Callable[..., tuple[int, str, str]]


def test_a_run_ends_with_the_scores_and_the_path_of_the_report(
    wardround: Wardround, tiny: Tiny, tmp_path: Path
) -> None:
    code, out, err = wardround("run", tiny(), "--grid", "local", "--out", "here")
    assert code == 0
    assert "Dice after each step" in out
    assert out.strip().splitlines()[-1] == "report: here/report.html"
    assert "step 2/2, round 1: B learning" in err
    assert (tmp_path / "here" / "report.html").stat().st_size > 10_000


def test_a_run_folder_is_named_after_the_schedule_and_the_time(
    wardround: Wardround, tiny: Tiny, tmp_path: Path
) -> None:
    assert wardround("run", tiny(), "--grid", "local")[0] == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"tiny-20\d{6}-\d{6}", folder.name)


def test_results_for_machines_are_json_and_nothing_else(wardround: Wardround, tiny: Tiny) -> None:
    code, out, _ = wardround("run", tiny(), "--grid", "local", "--format", "json", "--seed", 2, "--set", "unseen=[]")
    result = json.loads(out)
    assert code == 0
    assert result["complete"] is True
    assert result["scores"]["dice"]["unseen"] is None
    assert 0 <= result["scores"]["dice"]["accuracy"] <= 1


def test_a_dry_run_prints_the_timeline_and_makes_nothing(wardround: Wardround, tiny: Tiny, tmp_path: Path) -> None:
    schedule = tiny(arrivals=["A", ["B", "C"]])
    code, out, _ = wardround("run", schedule, "--dry-run")
    assert code == 0
    assert "B, C" in out
    assert "segmenter" in out
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]
    resolved = json.loads(wardround("run", schedule, "--dry-run", "--format", "json")[1])
    assert resolved["steps"][1]["arriving"] == ["B", "C"]


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["run", "nowhere.yaml"], "nowhere.yaml: can't be read"),
        (["run"], "name a schedule to run, or a run folder with --resume"),
        (["run", "tiny.yaml", "--set", "budget.rouns=2"], "did you mean 'rounds'?"),
        (["run", "tiny.yaml", "--out", "."], "is there already and not empty"),
        (["run", "--resume", "."], "is not a run folder"),
        (["run", "--resume", ".", "--seed", "3"], "leave out --out, --seed and --set"),
        (["report", "nowhere"], "is not a run folder"),
        (["run", "tiny.yaml", "--gird", "local"], "No such option"),
    ],
)
def test_a_mistake_gets_one_message_and_exit_code_2(
    wardround: Wardround, tiny: Tiny, tmp_path: Path, arguments: list[str], fragment: str
) -> None:
    tiny()
    code, out, err = wardround(*arguments)
    assert code == 2
    assert fragment in err
    assert "Traceback" not in err + out
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_a_site_that_fails_ends_the_run_with_exit_code_1(wardround: Wardround, tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "strict.yaml").write_text("admit: [segmenter, score]\nbyte_budget: 1000\n")
    code, _, err = wardround("run", tiny(policy="strict.yaml"), "--grid", "local", "--out", "run")
    assert code == 1
    assert "site 'A' failed to learn at step 1: OVER_BUDGET" in err
    assert "to go on: wardround run --resume run" in err
    assert not (tmp_path / "run" / "done").exists()
    assert wardround("report", "run")[0] == 0
    assert "OVER_BUDGET" in (tmp_path / "run" / "report.html").read_text()


def test_a_finished_run_is_only_shown_again(wardround: Wardround, run_tiny: Run) -> None:
    folder = run_tiny()
    before = (folder / "receipts.jsonl").read_bytes()
    code, out, _ = wardround("run", "--resume", folder, "--grid", "local")
    assert code == 0
    assert "Scores at the end" in out
    assert (folder / "receipts.jsonl").read_bytes() == before


def test_every_fault_of_a_data_folder_is_listed(wardround: Wardround, tmp_path: Path) -> None:
    for name, value in (("images/a.png", 9), ("masks/a.png", 0), ("images/b.png", 9)):
        path = tmp_path / "data" / "north" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), value).save(path)
    code, out, _ = wardround("sites", "check", "data")
    assert code == 1
    assert "empty-mask" in out
    assert "missing-partner" in out
    whats = {
        fault["what"] for fault in json.loads(wardround("sites", "check", "data", "--format", "json")[1])["faults"]
    }
    assert {"empty-mask", "missing-partner"} <= whats
    assert wardround("sites", "check", "nowhere")[0] == 2
    assert "did you mean 'structures'" in wardround("sites", "check", "data", "--set", "structurs={}")[2]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
@pytest.mark.parametrize(
    ("grid", "number"),
    [
        ("local", signal.SIGINT),
        pytest.param("actors", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("local", signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_an_interrupt_leaves_a_resumable_folder_and_no_process(
    wardround: Wardround, run_tiny: Run, tmp_path: Path, grid: str, number: signal.Signals
) -> None:
    keys = {"arrivals": list("ABCD"), "budget": {"iterations": 100, "batch": 3}}
    whole = run_tiny("whole", **keys)
    mark, folder = f"WARDROUND_TEST_{uuid.uuid4().hex}", tmp_path / "run"
    process = start("run", "tiny.yaml", "--grid", grid, "--out", folder, mark=mark, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while len(read_rows(folder / "scores.jsonl")) < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "Traceback" not in err
    assert f"to go on: wardround run --resume {folder}" in err.replace("\n", "")
    ended = time.monotonic() + 15
    while processes_with(mark) and time.monotonic() < ended:
        time.sleep(0.1)
    assert processes_with(mark) == []
    assert wardround("run", "--resume", folder, "--grid", "local")[0] == 0
    assert (folder / "scores.jsonl").read_bytes() == (whole / "scores.jsonl").read_bytes()
