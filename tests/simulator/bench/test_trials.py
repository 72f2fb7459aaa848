"""A suite becomes trials: which there are, what each is made of, and how mistakes are told."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
import yaml

from simulator.bench.trials import Suite, read_suite
from simulator.config import shipped
from simulator.schedule import read_schedule
from sites.errors import ConfigError, UserError

Write = Callable[..., Path]


def test_every_schedule_strategy_order_and_seed_is_a_trial(suite: Write) -> None:
    read = read_suite(suite(orders=2, seeds=2))
    told = [(trial.strategy, trial.order, trial.seed) for trial in read.trials]
    assert told == list(product(["finetune", "joint"], ["A-B", "B-A"], [0, 1]))
    assert {trial.schedule_name for trial in read.trials} == {"tiny"}
    assert len({trial.identity for trial in read.trials}) == 8
    for trial in read.trials:
        trial.schedule.check()
        assert trial.schedule.config.seed == trial.seed
        assert trial.schedule.config.strategy.name == trial.strategy
        assert "-".join(trial.schedule.timeline.seen) == trial.order


def test_sites_take_the_places_of_a_schedule_with_their_cases_and_stay(suite: Write, tiny: Write) -> None:
    tiny(arrivals=["A", [{"site": "B", "train": 2}, "C"], {"site": "A", "train": 1, "stay": 2}])
    (trial,) = read_suite(suite(orders=[["C", "A", "B"]], strategies=["finetune"], reference=None)).trials
    steps = [[(arrival.site, arrival.train) for arrival in step] for step in trial.schedule.config.arrivals]
    assert steps == [[("C", None)], [("A", 2), ("B", None)], [("C", 1)]]
    assert trial.order == "C-A-B"


def test_more_orders_go_on_where_fewer_ended(suite: Write, tiny: Write) -> None:
    tiny(arrivals=list("ABCD"))

    def orders(count: int) -> list[str]:
        trials = read_suite(suite(orders=count, strategies=["finetune"], reference=None)).trials
        return [trial.order for trial in trials]

    assert orders(1) == ["A-B-C-D"]
    assert len(set(orders(6))) == 6
    assert orders(6)[:3] == orders(3)


def test_a_strategy_has_settings_a_label_a_policy_and_overrides_of_its_own(suite: Write, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("admit: [segmenter, count, score]\n")
    entry = {
        "name": "fedavg",
        "label": "FedAvg, 2 rounds",
        "settings": {"weighting": "uniform"},
        "policy": "mine.yaml",
        "set": {"stay": 1, "budget.rounds": 2},
    }
    read = read_suite(suite(strategies=["finetune", entry], reference=None))
    config = read.trials[-1].schedule.config
    assert read.trials[-1].strategy == "FedAvg, 2 rounds"
    assert read.trials[-1].schedule.strategy_config.model_dump()["weighting"] == "uniform"
    assert (config.stay, config.budget.rounds, config.policy) == (1, 2, str(tmp_path / "mine.yaml"))
    assert read.trials[0].schedule.config.stay == 0


def test_values_of_the_schedule_entry_give_way_to_the_strategy_and_both_to_the_command_line(suite: Write) -> None:
    keys = {
        "schedules": [{"schedule": "tiny.yaml", "name": "small", "set": {"cases.train": 2, "budget.iterations": 7}}],
        "strategies": [{"name": "finetune", "set": {"budget.iterations": 5, "budget.batch": 4}}],
        "reference": None,
    }
    config = read_suite(suite(**keys), ["budget.batch=1"]).trials[0].schedule.config
    assert (config.name, config.cases.train, config.budget.iterations, config.budget.batch) == ("small", 2, 5, 1)


def test_excluded_trials_are_left_out(suite: Write) -> None:
    trials = read_suite(suite(exclude=[{"strategy": "joint", "order": "B-A"}, {"seed": 1}], orders=2, seeds=2)).trials
    assert [(trial.strategy, trial.order) for trial in trials] == [
        ("finetune", "A-B"),
        ("finetune", "B-A"),
        ("joint", "A-B"),
    ]


def test_the_identity_follows_what_decides_a_result_and_nothing_else(
    suite: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text("admit: [segmenter, score]\n")

    def first(**keys: object) -> tuple[str, str]:
        entry = {"name": "finetune", "policy": "mine.yaml", **keys}
        trial = read_suite(suite(strategies=[entry], reference=None)).trials[0]
        return trial.spec, trial.identity

    before = first()
    assert first(label="another name") == before
    assert first(set={"budget.iterations": 4})[0] != before[0]
    (tmp_path / "mine.yaml").write_text("admit: [segmenter, score]\nround_counts_to: 3\n")
    changed = first()
    assert changed[0] != before[0]
    monkeypatch.setattr("simulator.bench.trials.code_version", lambda strategy, source: "other code")
    assert first()[0] == changed[0]
    assert first()[1] != changed[1]


def test_the_resolved_suite_runs_again_from_anywhere(suite: Write, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("admit: [segmenter, score]\n")
    read = read_suite(
        suite(strategies=[{"name": "finetune", "policy": "mine.yaml"}], reference=None), ["cases.train=2"]
    )
    moved = tmp_path / "elsewhere" / "suite.yaml"
    moved.parent.mkdir()
    moved.write_text(yaml.safe_dump(read.resolved()))
    assert [trial.identity for trial in read_suite(moved).trials] == [trial.identity for trial in read.trials]


@pytest.mark.parametrize(
    ("keys", "fragment"),
    [
        ({"stratgies": []}, "suite.yaml:10: stratgies: unknown key; did you mean 'strategies'?"),
        ({"strategies": [{"name": "finetune", "lable": "x"}]}, "unknown key; did you mean 'label'?"),
        (
            {"strategies": ["finetun"]},
            "suite.yaml:4: strategy: there is no strategy 'finetun'; did you mean 'finetune'",
        ),
        ({"strategies": [{"name": "fedavg", "settings": {"wighting": 1}}]}, "strategy.wighting: unknown key; did you"),
        ({"strategies": [{"name": "finetune", "set": {"budget.rouns": 1}}]}, "budget.rouns: unknown key; did you mean"),
        ({"strategies": ["finetune", "finetune"]}, "'finetune' is there twice; give each a label"),
        ({"strategies": ["finetune", {"name": "finetune", "label": "b"}]}, "these are one and the same trial"),
        ({"strategies": [{"name": "finetune", "policy": "open"}]}, "policy: there is no policy"),
        ({"strategies": [{"name": "finetune", "set": {"seed": 3}}]}, "a suite lists its seeds under 'seeds'"),
        ({"reference": "oracle"}, "'oracle' labels no strategy; there are finetune, joint"),
        ({"control": "oracle"}, "'oracle' labels no strategy; there are finetune, joint"),
        ({"schedules": ["quickstrat"]}, "suite.yaml:2: schedule: "),
        ({"schedules": ["tiny.yaml", "tiny.yaml"]}, "'tiny' is there twice; give each a name"),
        ({"orders": [["A", "E"]]}, "must name each site that arrives in 'tiny' once: A, B"),
        ({"orders": [["A", "B"], ["A", "B"]]}, "A-B is there twice"),
        ({"orders": 3}, "2 sites have only 2 orders"),
        ({"seeds": [1, 1]}, "seeds: 1 is there twice"),
        ({"seeds": 0}, "seeds"),
        ({"exclude": [{}]}, "an empty entry would leave out every trial"),
        ({"exclude": [{"schedule": "tinny"}]}, "there is no schedule 'tinny'"),
        ({"exclude": [{"seed": 0}]}, "leaves no trial"),
        ({"schedules": []}, "schedules"),
    ],
)
def test_a_mistake_is_named_with_file_and_fix(suite: Write, keys: dict[str, object], fragment: str) -> None:
    reference = {"reference": None} if "strategies" in keys else {}
    with pytest.raises(ConfigError) as raised:
        read_suite(suite(**{**reference, **keys}))
    assert fragment in str(raised.value)
    assert "suite.yaml" in str(raised.value)


@pytest.mark.parametrize(
    ("override", "fragment"),
    [("seed=3", "--set seed=3: seed: a suite lists"), ("budget.rouns=2", "did you mean 'rounds'")],
)
def test_a_wrong_override_is_named(suite: Write, override: str, fragment: str) -> None:
    with pytest.raises(UserError) as raised:
        read_suite(suite(), [override])
    assert fragment in str(raised.value)


@pytest.mark.parametrize("name", shipped("suites"))
def test_a_shipped_suite_holds(name: str, real_roots: dict[str, Path]) -> None:
    read: Suite = read_suite(Path(name), [f"source.root={real_roots[name]}"] if name in real_roots else [])
    first = {(trial.schedule_name, trial.strategy): trial for trial in reversed(read.trials)}
    for trial in first.values():
        trial.schedule.check()


def test_a_folder_of_a_shipped_name_is_not_taken_for_the_suite_or_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "smoke").mkdir()
    monkeypatch.chdir(tmp_path)
    assert read_suite(Path("smoke")).config.name == "smoke"
    assert read_schedule(Path("smoke")).config.task


def test_a_trial_keeps_its_identity_where_the_data_have_moved_and_not_where_they_have_changed(
    real_roots: dict[str, Path], tmp_path: Path
) -> None:
    def identities(root: Path) -> list[str]:
        return [trial.identity for trial in read_suite(Path("prostate-real"), [f"source.root={root}"]).trials]

    before, moved = real_roots["prostate-real"], tmp_path / "elsewhere"
    shutil.copytree(before, moved)
    assert identities(moved) == identities(before)
    for path in moved.glob("HK/Case00*"):
        path.unlink()
    assert not set(identities(moved)) & set(identities(before))
