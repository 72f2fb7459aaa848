"""The bench folder: the suite, the plan of its trials, a run folder for each trial, and the tables of what came out."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from simulator.bench.adding import SETTINGS, SUITE, Added, Addition, Key, added_to, take_over
from simulator.bench.trials import Suite, Trial
from simulator.schedule import as_yaml
from simulator.store import held, now, versions
from sites.errors import UserError
from sites.files import write_whole

Status = Literal["done", "added", "failed", "missing"]


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A trial as the plan names it. `arrivals`: the steps at which each site arrives, none for an unseen one."""

    trial: str
    spec: str
    schedule: str
    strategy: str
    order: str
    seed: int
    arrivals: Mapping[str, tuple[int, ...]]

    @property
    def key(self) -> Key:
        return Key(self.schedule, self.strategy, self.order, self.seed)


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a trial ended: "added" where it did elsewhere, "missing" where it did not; `reason`: one line, of failure."""

    status: Status
    reason: str = ""

    @property
    def measured(self) -> bool:
        """Whether there is a result."""
        return self.status in ("done", "added")


class BenchStore:
    """A bench's folder."""

    def __init__(self, root: Path) -> None:
        """Open a bench folder. Raises `UserError` where it is not one."""
        if not (root / "plan.json").exists():
            raise UserError(
                f"{root}: is not a bench folder (it has no plan.json); name one that `wardround bench` made"
            )
        self.root = root
        self.plan: dict[str, Any] = json.loads((root / "plan.json").read_text(encoding="utf-8"))

    @classmethod
    def open(cls, root: Path, suite: Suite) -> BenchStore:
        """Make a bench folder, or go on in the one of this suite, which may have grown since.

        Raises `UserError` where the folder holds something else, another suite's trials above all.
        """
        if (root / "plan.json").exists():
            before = {row["spec"] for row in cls(root).plan["trials"]}
            if strange := before - {trial.spec for trial in suite.trials}:
                raise UserError(
                    f"{root}: is of another suite, or of this one with other settings: {len(strange)} of its "
                    f"{len(before)} trials are not in this one; choose another --out"
                )
        elif root.exists() and any(root.iterdir()):
            raise UserError(f"{root}: is there already, and no bench folder; choose another --out")
        write_whole(root / SUITE, as_yaml(suite.resolved()))
        write_whole(root / SETTINGS, json.dumps(suite.settings(), indent=1) + "\n")
        write_whole(root / "plan.json", json.dumps(_plan(suite), indent=1) + "\n")
        return cls(root)

    def held(self) -> AbstractContextManager[None]:
        """Keep the folder for one bench at a time. Raises `UserError` where another one runs in it."""
        return held(self.root)

    @property
    def planned(self) -> tuple[Planned, ...]:
        """The trials in the suite's order."""
        return tuple(
            Planned(**{**row, "arrivals": {site: tuple(steps) for site, steps in row["arrivals"].items()}})
            for row in self.plan["trials"]
        )

    def trial_root(self, identity: str) -> Path:
        """Return the folder of a trial, a run folder."""
        return self.root / "trials" / identity

    def ending(self, identity: str) -> Ending:
        """Return how a trial ended. What was measured here counts before what was added."""
        path = self.trial_root(identity) / "trial.json"
        row = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        found = Ending(status=row.get("status", "missing"), reason=row.get("reason", ""))
        return Ending(status="added") if found.status != "done" and identity in self.added else found

    @cached_property
    def added(self) -> Mapping[str, Added]:
        """The planned trials that were measured elsewhere, by the identity that they have here."""
        found = added_to(self.root)
        return {row.trial: found[row.key] for row in self.planned if row.key in found}

    def add(self, addition: Addition) -> None:
        """Take over what another bench measured of the planned trials."""
        take_over(self.root, addition)
        self.__dict__.pop("added", None)

    def end(self, trial: Trial, ending: Ending) -> None:
        """Record how a trial ended."""
        row = {"trial": trial.identity, "place": trial.place, "status": ending.status, "reason": ending.reason}
        write_whole(self.trial_root(trial.identity) / "trial.json", json.dumps(row, indent=1) + "\n")

    def write_machine(self) -> None:
        """Record on what, and when, the bench was last run."""
        write_whole(self.root / "machine.json", json.dumps(machine(), indent=1) + "\n")

    def machine(self) -> dict[str, str]:
        """Return what `write_machine` recorded."""
        found: dict[str, str] = json.loads((self.root / "machine.json").read_text(encoding="utf-8"))
        return found


def machine() -> dict[str, str]:
    """Return this machine and this code: cores, processor, platform, python, torch, commit, date."""
    installed = versions()
    return {
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "platform": platform.platform(),
        "python": installed["python"],
        "torch": installed["torch"],
        "commit": commit_of(installed),
        "date": now(),
    }


def commit_of(installed: Mapping[str, str]) -> str:
    """Return which code it was, from the versions of a run: the commit of a checkout, or the release."""
    return installed.get("commit", f"release {installed.get('wardround', 'unknown')}")


def _processor() -> str:
    """Return the processor's name as Linux knows it, else as Python does."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text(encoding="utf-8").splitlines() if known.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _plan(suite: Suite) -> dict[str, Any]:
    return {
        "suite": suite.config.name,
        "description": suite.config.description,
        "reference": suite.config.reference,
        "control": suite.config.control,
        "strategies": suite.config.labels,
        "schedules": suite.schedules,
        "trials": [
            {
                "trial": trial.identity,
                "spec": trial.spec,
                "schedule": trial.schedule_name,
                "strategy": trial.strategy,
                "order": trial.order,
                "seed": trial.seed,
                "arrivals": trial.schedule.timeline.arrivals,
            }
            for trial in suite.trials
        ],
    }
