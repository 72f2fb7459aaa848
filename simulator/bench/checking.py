"""Golden figures: a bench's scores kept in a file, and the scores of a rerun held against them."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from simulator.bench.collecting import SCORE_COLUMNS
from simulator.bench.results import Results
from sites.errors import ConfigError
from sites.files import write_whole

# Absolute, in the score's own unit. Another processor sums in another order, and training makes more of it.
TOLERANCE = {"dice": 0.02, "hd95": 2.0, "asd": 1.0}
EXACT = ("bytes_up", "bytes_first")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GoldenTrial(_Frozen):
    """The scores of one trial; null where one is not defined."""

    schedule: str
    strategy: str
    order: str
    seed: int
    kinds_up: str
    scores: dict[str, float | None]

    @property
    def place(self) -> str:
        return f"{self.schedule}, {self.strategy}, {self.order}, seed {self.seed}"


class Golden(_Frozen):
    """A bench's golden figures: from which machine, and how far a rerun may be off (absolute, by score)."""

    suite: str
    machine: dict[str, str]
    tolerance: dict[str, float]
    trials: tuple[GoldenTrial, ...]


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """A trial that is not what the golden figures say; `score` is "" where it is not about one."""

    trial: str
    score: str
    what: str

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.trial, self.score, self.what)))


def freeze(results: Results, path: Path) -> None:
    """Write a bench's scores as golden figures."""
    golden = Golden(
        suite=results.suite,
        machine=dict(results.machine),
        tolerance={
            **{column: TOLERANCE[column.partition("_")[0]] for column in SCORE_COLUMNS},
            **dict.fromkeys(EXACT, 0.0),
        },
        trials=tuple(_golden(row) for row in results.trials.to_dict("records")),
    )
    write_whole(path, json.dumps(golden.model_dump(mode="json"), indent=1) + "\n")


def read_golden(path: Path) -> Golden:
    """Read golden figures. Raises `ConfigError` where the file is missing or not of their form."""
    try:
        return Golden.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror}); name a file that --freeze wrote") from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: holds no golden figures; name a file that --freeze wrote") from error


def deviations(results: Results, golden: Golden, chosen: Collection[str]) -> list[Deviation]:
    """Return where a bench leaves its golden figures, trial by trial; only `chosen` trials (identities) are looked at.

    A trial that only one of the two knows is a deviation; so is a score that only one of them defines.
    """
    found: list[Deviation] = []
    by_place = {trial.place: trial for trial in golden.trials}
    places = set()
    for row in results.trials.to_dict("records"):
        trial = _golden(row)
        places.add(trial.place)
        if row["trial"] not in chosen:
            continue
        if trial.place not in by_place:
            found.append(Deviation(trial=trial.place, score="", what="is not in the golden figures"))
        elif row["status"] != "done":
            found.append(Deviation(trial=trial.place, score="", what=f"{row['status']} {row['reason']}".strip()))
        else:
            found += _compared(trial, by_place[trial.place], golden.tolerance)
    gone = [trial.place for trial in golden.trials if trial.place not in places]
    return found + [Deviation(trial=place, score="", what="is not in this suite") for place in gone]


def _compared(trial: GoldenTrial, wanted: GoldenTrial, tolerance: Mapping[str, float]) -> Iterable[Deviation]:
    if trial.kinds_up != wanted.kinds_up:
        yield Deviation(trial=trial.place, score="kinds_up", what=f"{trial.kinds_up}, not {wanted.kinds_up}")
    for score, value in wanted.scores.items():
        got = trial.scores.get(score)
        if got is None or value is None:
            if got is not value:
                yield Deviation(trial=trial.place, score=score, what=f"{got}, not {value}")
        elif abs(got - value) > tolerance[score]:
            what = f"{got:.6g}, not {value:.6g} within {tolerance[score]:g}"
            yield Deviation(trial=trial.place, score=score, what=what)


def _golden(row: Mapping[Any, Any]) -> GoldenTrial:
    return GoldenTrial(
        **{key: row[key] for key in ("schedule", "strategy", "order", "seed", "kinds_up")},
        scores={key: None if math.isnan(row[key]) else float(row[key]) for key in (*SCORE_COLUMNS, *EXACT)},
    )
