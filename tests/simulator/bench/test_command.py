"""The command `wardround bench`: what it prints, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[..., Path]
Wardround = Callable[..., tuple[int, str, str]]


def test_a_dry_run_lists_the_trials_and_makes_nothing(wardround: Wardround, suite: Write, tmp_path: Path) -> None:
    path = suite(seeds=2)
    code, out, _ = wardround("bench", path, "--dry-run", "--only", "joint")
    assert code == 0
    assert "suite: 2 trials" in out
    assert out.count("to run") == 2
    assert "finetune" not in out
    told = json.loads(wardround("bench", path, "--dry-run", "--seeds", 1, "--format", "json", "--set", "stay=1")[1])
    assert [(row["strategy"], row["seed"], row["status"]) for row in told["trials"]] == [
        ("finetune", 1, "missing"),
        ("joint", 1, "missing"),
    ]
    assert told["trials"][0]["settings"]["stay"] == 1
    assert sorted(found.name for found in tmp_path.iterdir()) == ["suite.yaml", "tiny.yaml"]


def test_a_dry_run_of_a_suite_on_real_data_says_what_it_lacks_or_lists_its_trials(
    wardround: Wardround, real_roots: dict[str, Path], tmp_path: Path
) -> None:
    for name, root in real_roots.items():
        chosen = ("bench", name, "--dry-run", "--only", "finetune", "--seeds", 0)
        code, _, err = wardround(*chosen)
        assert (code, "source.root: is not set; say where the data are" in err.replace("\n", " ")) == (2, True)
        code, _, err = wardround(*chosen, "--set", "source.root=nowhere")
        assert (code, f"{tmp_path}/nowhere: missing-root: is not a folder" in err) == (2, True)
        code, out, err = wardround(*chosen, "--set", f"source.root={root}")
        assert (code, out.count("to run")) == (0, 2), err


def test_a_pipe_gets_a_line_for_each_trial_and_the_results_at_the_end(
    wardround: Wardround, suite: Write, here: list[str], tmp_path: Path
) -> None:
    code, out, err = wardround("bench", suite())
    assert code == 0
    lines = err.strip().splitlines()
    assert lines[0].startswith("[1/2] tiny, finetune, A-B, seed 0: Dice seen .")
    assert lines[1].startswith("[2/2] tiny, joint, A-B, seed 0: Dice seen .")
    ends = ["results: benches/suite/results.csv", "report: benches/suite/report.html"]
    assert out.strip().splitlines()[-2:] == ends
    assert "to run" not in wardround("bench", tmp_path / "suite.yaml", "--dry-run")[1]


def test_an_interrupt_says_how_to_go_on(
    wardround: Wardround, suite: Write, here: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("simulator.bench.live.Board.end", stopped)
    code, _, err = wardround("bench", suite())
    assert code == 130
    assert err.strip().splitlines()[-1] == "stopped; to go on, give the same command again"
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["nowhere.yaml"], "nowhere.yaml: can't be read"),
        (["smoke", "--parallel", "0"], "Invalid value for '--parallel'"),
        (["smoke", "--track", "paper"], "Invalid value for '--track'"),
        (["smoke", "--out", "."], "is there already, and no bench folder"),
    ],
)
def test_a_mistake_gets_one_message_and_exit_code_2(
    wardround: Wardround, suite: Write, arguments: list[str], fragment: str
) -> None:
    suite()
    code, out, err = wardround("bench", *arguments)
    assert code == 2
    assert fragment in err
    assert "Traceback" not in err + out
