"""Takes over trials that were measured elsewhere, on another day or machine, from the tables of their bench alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml
from pydantic import ValidationError

from simulator.bench.suite import SuiteConfig
from simulator.bench.trials import Suite
from sites.errors import UserError
from sites.files import write_whole

FOLDER = "added"
SUITE, SETTINGS = "suite.yaml", "settings.json"
RESULTS, MATRIX, COSTS = "results.csv", "matrix.csv", "costs.csv"
_NEEDED = {
    RESULTS: (
        *("trial", "schedule", "strategy", "order", "seed", "status"),
        *("bytes_up", "bytes_first", "kinds_up", "sited", "commit"),
    ),
    MATRIX: ("trial", "step", "site", "arrived", "dice", "hd95", "asd"),
    COSTS: ("trial", "step", "purpose", "cpu_seconds", "wall_seconds"),
}
# A site may be called 1, or NA.
_TEXTS = dict.fromkeys(("trial", "schedule", "strategy", "order", "site", "commit"), str)


class Key(NamedTuple):
    """What makes two trials of a suite one and the same, whichever code ran them."""

    schedule: str
    strategy: str
    order: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class Added:
    """A trial that was measured elsewhere: its row of results.csv, and its rows of matrix.csv and costs.csv."""

    row: Mapping[str, Any]
    matrix: pd.DataFrame
    costs: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class Addition:
    """The tables of another bench, looked through.

    contents: its files by name; count: how many of a suite's trials they hold; otherwise: the schedules and strategies
        whose trials don't count, since its suite sets them otherwise
    """

    contents: Mapping[str, bytes]
    count: int
    otherwise: tuple[str, ...]


def look_through(suite: Suite, folder: Path) -> Addition:
    """Look through the tables of `folder` for trials of a suite.

    Other code can't be told from them: each trial's commit goes along. Raises `UserError` where they are no such
    tables, hold none of these trials, or are of other arrivals.
    """
    planned = {
        Key(trial.schedule_name, trial.strategy, trial.order, trial.seed): trial.schedule.timeline.arrivals
        for trial in suite.trials
    }
    trials = _trials(folder)
    otherwise = _otherwise(SuiteConfig.model_validate(suite.resolved()), suite.settings(), folder)
    held = {key for key in trials.keys() & planned if not _touches(key, otherwise)}
    if not held:
        raise UserError(
            f"{folder}: none of its trials that are done is one of this suite, as this suite sets them; leave out --add"
        )
    for key in sorted(held):
        told = dict(zip(trials[key].matrix["site"], trials[key].matrix["arrived"], strict=True))
        ours = {site: min(steps, default=0) for site, steps in planned[key].items()}
        if told != ours:
            raise UserError(
                f"{folder / MATRIX}: in {', '.join(map(str, key))} the sites arrive as {told}, in this suite as "
                f"{ours}: the schedule has changed; leave out --add, and run it anew"
            )
    return Addition(
        contents=_contents(folder),
        count=len(held),
        otherwise=tuple(f"{what} {name}" for what, name in sorted(otherwise)),
    )


def take_over(root: Path, addition: Addition) -> None:
    """Copy tables that were looked through into the bench folder `root`, unless it has them."""
    before, contents = _folders(root), addition.contents
    if all(_contents(one) != contents for one in before):
        staging = root / FOLDER / ".coming"
        shutil.rmtree(staging, ignore_errors=True)
        for name, data in contents.items():
            write_whole(staging / name, data)
        staging.rename(root / FOLDER / f"{len(before) + 1:03d}")


def added_to(root: Path) -> dict[Key, Added]:
    """Return all trials that were added to a bench folder; of one that was added twice, what came first."""
    found: dict[Key, Added] = {}
    for folder in _folders(root):
        otherwise = _otherwise(_suite(root / SUITE), _full_settings(root), folder)
        found = {key: one for key, one in _trials(folder).items() if not _touches(key, otherwise)} | found
    return found


def _folders(root: Path) -> list[Path]:
    return sorted((root / FOLDER).glob("[0-9]*"))


def _trials(folder: Path) -> dict[Key, Added]:
    """Return the trials that are done, from the tables of a bench. Raises `UserError` where they don't say all."""
    tables = _read(folder)
    matrices, costs = (dict(iter(tables[name].groupby("trial"))) for name in (MATRIX, COSTS))
    done = tables[RESULTS].query("status == 'done'").fillna({"kinds_up": ""})
    if lost := set(done["trial"]) - (matrices.keys() & costs.keys()):
        raise UserError(f"{folder}: {MATRIX} or {COSTS} lacks the trial {min(lost)} of {RESULTS}; copy the three anew")
    found = {}
    for record in done.to_dict("records"):
        row = {str(name): value for name, value in record.items()}
        key = Key(row["schedule"], row["strategy"], row["order"], int(row["seed"]))
        found[key] = Added(row=row, matrix=matrices[row["trial"]], costs=costs[row["trial"]])
    return found


def _read(folder: Path) -> dict[str, pd.DataFrame]:
    """Return the tables of a bench by file name. Raises `UserError` where one is missing or lacks a column."""
    tables = {}
    for name, columns in _NEEDED.items():
        path = folder / name
        try:
            table = pd.read_csv(path, dtype=_TEXTS, keep_default_na=False, na_values=[""])
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: can't be read as a table; name a folder that `wardround bench` made") from error
        if lacking := [column for column in columns if column not in table]:
            raise UserError(f"{path}: lacks the column '{lacking[0]}'; name a folder that `wardround bench` made")
        tables[name] = table
    return tables


def _contents(folder: Path) -> dict[str, bytes]:
    """Return a bench's files that are taken over, by name; older ones have no settings.json."""
    names = (SUITE, SETTINGS, *_NEEDED)
    return {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}


def _otherwise(suite: SuiteConfig, settings: Mapping[str, Any], folder: Path) -> set[tuple[str, str]]:
    """Return the schedules and strategies, each by what it is and its name, that the bench of `folder` sets otherwise.

    Either in its suite, or of a strategy in a setting that both know, such as a default that has changed since.
    """
    here, there = _settings(suite), _settings(_suite(folder / SUITE))
    told = {named for named in here.keys() & there if here[named] != there[named]}
    theirs = _full_settings(folder)
    return told | {("strategy", label) for label in settings.keys() & theirs if _differ(settings[label], theirs[label])}


def _differ(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return any(_differ(one[key], other[key]) for key in one.keys() & other)
    return bool(one != other)


def _full_settings(folder: Path) -> dict[str, Any]:
    """Return each strategy's settings with their defaults, by label; nothing of a bench that did not keep them."""
    path = folder / SETTINGS
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: can't be read; copy it anew from the bench, or leave it out") from error
    return found


def _touches(key: Key, named: Collection[tuple[str, str]]) -> bool:
    return ("schedule", key.schedule) in named or ("strategy", key.strategy) in named


def _settings(suite: SuiteConfig) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what a suite sets of each schedule and each strategy, by the name that results have for it.

    Of a path the last part counts: it may lie elsewhere.
    """
    schedules = {
        ("schedule", entry.name or Path(entry.schedule).stem): {"schedule": Path(entry.schedule).stem, "set": entry.set}
        for entry in suite.schedules
    }
    strategies = {
        ("strategy", entry.label): {
            "name": entry.name,
            "settings": entry.settings,
            "policy": Path(entry.policy).stem if entry.policy else None,
            "set": entry.set,
        }
        for entry in suite.strategies
    }
    return schedules | strategies


def _suite(path: Path) -> SuiteConfig:
    try:
        return SuiteConfig.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError, ValidationError) as error:
        raise UserError(f"{path}: is not the suite of a bench; name a folder that `wardround bench` made") from error
