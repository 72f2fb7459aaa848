"""Builds what the report shows from a run folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pandas as pd
import torch

from simulator.document import dotted
from simulator.report.view import RunView, Sample, StepView
from simulator.schedule import Schedule
from simulator.store import Store
from sites.errors import WardroundError
from sites.ledger import read_rows
from sites.scoring import predict
from sites.vault import Vault
from strategies import as_sent
from strategies.common.segmenter import build_segmenter


def view_of(store: Store) -> RunView:
    """Return the view of a run, finished or not."""
    schedule = store.schedule()
    timeline = schedule.timeline
    settings = {key: value for key, value in dotted(schedule.resolved()) if key != "name"}
    releases = pd.DataFrame(
        read_rows(store.root / "receipts.jsonl"), columns=["site", "step", "purpose", "field", "kind", "bytes"]
    )
    return RunView(
        name=schedule.config.name,
        task=schedule.config.task,
        strategy=schedule.config.strategy.name,
        settings=settings,
        versions=store.versions(),
        seed=schedule.config.seed,
        steps=tuple(StepView(step=step.number, arriving=step.arriving, online=step.online) for step in timeline.steps),
        unseen=timeline.unseen,
        sites=timeline.sites,
        structures=schedule.setting.shape.structures,
        scores=store.scores(),
        releases=releases,
        samples=tuple(_samples(schedule, store)),
        failures=() if store.done else store.failures(),
        complete=store.done,
    )


def _samples(schedule: Schedule, store: Store) -> Iterator[Sample]:
    """Yield a held-out slice of each site with what each step's segmenter finds in it, read from the source.

    A source whose files are gone since the run yields nothing. Where a site puts what it keeps into the segmenter,
    the newest step alone is shown: what it kept at the time of earlier ones is gone.
    """
    strategy, setting = schedule.strategy, schedule.setting
    network = build_segmenter(schedule.setting)
    for site in schedule.timeline.sites:
        try:
            case = schedule.source.held_out(site, 1)[0]
        except WardroundError:
            return
        middle = len(case.images) // 2
        image = case.images[middle]
        predictions = {}
        found = list(store.predictors(site).items())
        vault = Vault(store.home(site).root / "vault", sys.maxsize)
        for step, weights in found if strategy.at_home is as_sent else found[-1:]:
            at_home = strategy.at_home(schedule.strategy_config, setting, weights, case.images, vault)
            network.load_state_dict(dict(at_home))
            predictions[step] = predict(network, image[None])[0].numpy()
        shown = image[0] if len(image) == 1 else image.permute(1, 2, 0)
        yield Sample(
            site=site,
            image=shown.numpy(),
            reference=case.masks[middle].to(torch.uint8).numpy(),
            predictions=predictions,
        )
