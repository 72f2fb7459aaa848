"""Optional trackers: each trial that is done becomes a run of TensorBoard or MLflow, in files in the bench folder."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Literal, Protocol

from simulator.bench.collecting import Reading
from simulator.bench.trials import Trial
from simulator.document import dotted
from sites.errors import UserError

TrackerName = Literal["tensorboard", "mlflow"]


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """A trial as a tracker takes it. `steps`: (name, step, value); no value is NaN."""

    trial: str
    name: str
    settings: Mapping[str, str]
    steps: tuple[tuple[str, int, float], ...]
    final: Mapping[str, float]


class Tracker(Protocol):
    """Where trials are shown."""

    def add(self, tracked: Tracked) -> None:
        """Take in a trial, once: one that is there is left as it is, one that a kill left half written is replaced."""
        ...


def tracked_of(trial: Trial, reading: Reading) -> Tracked:
    """Return what a tracker shows of a trial: its settings, each site's scores after each step, final scores."""
    settings = dict(dotted(trial.schedule.resolved())) | {"order": trial.order, "label": trial.strategy}
    released = {key: float(value) for key, value in reading.released.items() if key != "kinds_up"}
    return Tracked(
        trial=trial.identity,
        name=re.sub(r"[^A-Za-z0-9._]+", "-", trial.place),
        settings=settings,
        steps=tuple(_steps(reading)),
        final={name: value for name, value in (reading.scores() | released).items() if not isnan(value)},
    )


def _steps(reading: Reading) -> Iterator[tuple[str, int, float]]:
    for key, matrix in reading.matrices.items():
        for step in range(matrix.steps + 1):
            for site in matrix.sites:
                if not isnan(value := matrix.score(step, site)):
                    yield f"{key}/{site}", step, value


def tracker_of(name: TrackerName, root: Path, suite: str) -> Tracker:
    """Return a tracker that writes into a bench folder. Raises `UserError` where its package is not installed."""
    try:
        return TensorBoard(root) if name == "tensorboard" else MLflow(root, suite)
    except ImportError as error:
        raise UserError(f"--track {name}: is not installed ({error}); pip install 'wardround[{name}]'") from error


class TensorBoard:
    """A folder of events for each trial, in `tensorboard/`."""

    def __init__(self, root: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._root = root / "tensorboard"
        self._writer = SummaryWriter

    def add(self, tracked: Tracked) -> None:
        whole, staging = self._root / f"{tracked.name}-{tracked.trial}", self._root / f".{tracked.trial}"
        if whole.exists():
            return
        shutil.rmtree(staging, ignore_errors=True)
        with self._writer(str(staging)) as writer:
            for name, step, value in tracked.steps:
                writer.add_scalar(name, value, step)
            final = {f"final/{name}": value for name, value in tracked.final.items()}
            writer.add_hparams(dict(tracked.settings), final, run_name=".")
        staging.rename(whole)


class MLflow:
    """A run for each trial, in an experiment of the suite's name, in the file store `mlruns/`."""

    def __init__(self, root: Path, suite: str) -> None:
        # MLflow asks for this since it prefers databases; a bench keeps to plain files beside its tables.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient, entities

        self._uri = (root / "mlruns").resolve().as_uri()
        self._suite = suite
        self._client, self._entities = MlflowClient, entities

    def add(self, tracked: Tracked) -> None:
        client, entities = self._client(self._uri), self._entities
        known = client.get_experiment_by_name(self._suite)
        experiment = known.experiment_id if known else client.create_experiment(self._suite)
        for run in client.search_runs([experiment], f"tags.trial = '{tracked.trial}'"):
            if run.info.status == "FINISHED":
                return
            client.delete_run(run.info.run_id)
        run_id = client.create_run(experiment, run_name=tracked.name, tags={"trial": tracked.trial}).info.run_id
        metrics = [entities.Metric(name, value, 0, step) for name, step, value in tracked.steps]
        metrics += [entities.Metric(f"final/{name}", value, 0, 0) for name, value in tracked.final.items()]
        for first in range(0, len(metrics), 1000):  # the most that one call takes
            client.log_batch(run_id, metrics=metrics[first : first + 1000])
        parameters = [entities.Param(key, value[:6000]) for key, value in tracked.settings.items()]
        for first in range(0, len(parameters), 100):
            client.log_batch(run_id, params=parameters[first : first + 100])
        client.set_terminated(run_id)
