"""A mistake in a YAML file is named by file, line, key and fix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.config import ScheduleConfig
from simulator.document import Document
from sites.errors import ConfigError

GOOD = """\
name: good
task: prostate
source: phantom
arrivals:
  - A
  - [B, {site: C, train: 3}]
strategy: {name: fedavg, weighting: uniform}
budget:
  iterations: 5
  rounds: 2
"""


def read(path: Path, overrides: Sequence[str] = ()) -> ScheduleConfig:
    document = Document.read(path)
    for override in overrides:
        document.override(override)
    return document.validated(ScheduleConfig, document.data)


def error_of(tmp_path: Path, text: str, *overrides: str) -> str:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read(path, overrides)
    return str(caught.value).replace(str(tmp_path) + "/", "")


def test_a_good_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(GOOD)
    config = read(path)
    assert [[arrival.site for arrival in step] for step in config.arrivals] == [["A"], ["B", "C"]]
    assert config.budget.rounds == 2
    assert config.strategy.name == "fedavg"


def test_an_unknown_key_is_named_with_its_line_and_the_nearest_valid_key(tmp_path: Path) -> None:
    text = GOOD.replace("rounds: 2", "rouns: 2")
    assert error_of(tmp_path, text) == "s.yaml:10: budget.rouns: unknown key; did you mean 'rounds'?"


def test_an_unknown_key_inside_a_list_is_named(tmp_path: Path) -> None:
    text = GOOD.replace("train: 3", "trian: 3")
    assert error_of(tmp_path, text) == "s.yaml:6: arrivals.1.1.trian: unknown key; did you mean 'train'?"


def test_an_ill_typed_value_is_named_with_its_line(tmp_path: Path) -> None:
    message = error_of(tmp_path, GOOD.replace("iterations: 5", "iterations: many"))
    assert message.startswith("s.yaml:9: budget.iterations: ")
    assert message.endswith("(got 'many')")


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    message = error_of(tmp_path, GOOD.replace("iterations: 5", "iterations: many").replace("task: ", "taks: "))
    assert "s.yaml:2: taks: unknown key; did you mean 'task'?" in message
    assert "s.yaml:1: task: is missing; add it" in message
    assert "s.yaml:9: budget.iterations" in message


def test_a_repeated_key_is_an_error(tmp_path: Path) -> None:
    assert error_of(tmp_path, GOOD + "task: fundus\n") == "s.yaml:11: task: is given twice; remove one"


@pytest.mark.parametrize(
    ("text", "fragment"),
    [("a: [1", "is not YAML"), ("- 1\n", "should hold keys and values"), ("", "should hold keys and values")],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str, fragment: str) -> None:
    assert fragment in error_of(tmp_path, text)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: can't be read"):
        Document.read(Path("nowhere.yaml"))


def test_an_override_names_itself_where_it_is_wrong(tmp_path: Path) -> None:
    assert error_of(tmp_path, GOOD, "budget.rouns=3").startswith("--set budget.rouns=3: budget.rouns: unknown key")
    assert "write it as key=value" in error_of(tmp_path, GOOD, "budget.rounds")
    assert "is a single value" in error_of(tmp_path, GOOD, "task.size=3")
    assert "no such entry" in error_of(tmp_path, GOOD, "arrivals.7=A")


def test_overrides_reach_lists_bare_names_and_new_keys(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(GOOD)
    config = read(path, ["arrivals.1.0=D", "source.size=32", "cases.train=7", "unseen=[E, F]"])
    assert config.arrivals[1][0].site == "D"
    assert config.source.kind == "phantom"
    assert config.source.model_extra == {"size": 32}
    assert config.cases.train == 7
    assert config.unseen == ("E", "F")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    key=st.sampled_from(["iterations", "rounds", "learning_rate"]), at=st.integers(1, 4), letter=st.sampled_from("qzx")
)
def test_any_misspelt_key_is_reported_with_what_was_meant(tmp_path: Path, key: str, at: int, letter: str) -> None:
    wrong = key[:at] + letter + key[at + 1 :]
    text = GOOD.replace("  iterations: 5\n  rounds: 2\n", f"  epochs: 1\n  {wrong}: 2\n")
    assert error_of(tmp_path, text) == f"s.yaml:10: budget.{wrong}: unknown key; did you mean '{key}'?"
