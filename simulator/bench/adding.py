"""Takes over trials that were measured elsewhere, on another day or machine, from the tables of their bench alone."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml
from pydantic import ValidationError

from simulator.bench.suite import SuiteConfig
from sites.errors import UserError
from sites.files import write_whole

FOLDER = "added"
SUITE = "suite.yaml"
RESULTS, MATRIX, COSTS = "results.csv", "matrix.csv", "costs.csv"
_NEEDED = {
    RESULTS: ("trial", "schedule", "strategy", "order", "seed", "status", "bytes_up", "kinds_up", "sited", "commit"),
    MATRIX: ("trial", "step", "site", "dice", "hd95", "asd"),
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


def take_over(root: Path, planned: Collection[Key], folder: Path) -> int:
    """Copy the tables of `folder` into the bench folder `root`; return how many of the planned trials they hold.

    Raises `UserError`, before anything is copied, where they are no such tables, hold none of these trials, or are of
    other settings. A schedule that has changed under the same name, and other code, can't be told from them: each
    trial's commit goes along.
    """
    tables = _read(folder)
    keys = [_key(row) for row in _done(tables)]
    _demand_same_settings(root, folder, keys)
    if not (held := set(keys) & set(planned)):
        raise UserError(f"{folder}: none of its trials that are done is one of this suite; leave out --add")
    contents = {name: (folder / name).read_bytes() for name in (SUITE, *_NEEDED)}
    before = _folders(root)
    if not any(all((one / name).read_bytes() == data for name, data in contents.items()) for one in before):
        staging = root / FOLDER / ".coming"
        shutil.rmtree(staging, ignore_errors=True)
        for name, data in contents.items():
            write_whole(staging / name, data)
        staging.rename(root / FOLDER / f"{len(before) + 1:03d}")
    return len(held)


def added_to(root: Path) -> dict[Key, Added]:
    """Return all trials that were added to a bench folder; of one that was added twice, what came first."""
    found: dict[Key, Added] = {}
    for folder in _folders(root):
        tables = _read(folder)
        matrices = dict(iter(tables[MATRIX].groupby("trial")))
        costs = dict(iter(tables[COSTS].groupby("trial")))
        for row in _done(tables):
            name = row["trial"]
            found.setdefault(_key(row), Added(row=row, matrix=matrices[name], costs=costs[name]))
    return found


def _folders(root: Path) -> list[Path]:
    return sorted((root / FOLDER).glob("[0-9]*"))


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
    lost = {row["trial"] for row in _done(tables)} - (set(tables[MATRIX]["trial"]) & set(tables[COSTS]["trial"]))
    if lost:
        raise UserError(f"{folder}: {MATRIX} or {COSTS} lacks the trial {min(lost)} of {RESULTS}; copy the three anew")
    return tables


def _done(tables: Mapping[str, pd.DataFrame]) -> Iterator[dict[str, Any]]:
    table = tables[RESULTS]
    for row in table[table["status"] == "done"].to_dict("records"):
        yield {str(name): value for name, value in row.items()}


def _key(row: Mapping[str, Any]) -> Key:
    return Key(str(row["schedule"]), str(row["strategy"]), str(row["order"]), int(row["seed"]))


def _demand_same_settings(root: Path, folder: Path, keys: Collection[Key]) -> None:
    """Raise `UserError` where a schedule or strategy of these trials is set otherwise here than it was there."""
    here, there = _suite(root / SUITE), _suite(folder / SUITE)
    used = {("schedule", key.schedule) for key in keys} | {("strategy", key.strategy) for key in keys}
    ours, theirs = _settings(here), _settings(there)
    for what, name in sorted(used & set(ours) & set(theirs)):
        if ours[what, name] != theirs[what, name]:
            raise UserError(
                f"{folder / SUITE}: {what} '{name}' is {theirs[what, name]}, but {ours[what, name]} in this suite, so "
                "these are other trials; call one of the two something else"
            )


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
