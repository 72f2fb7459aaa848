"""The phantoms are worth a benchmark: all sites can be learnt together, and one after the other they are forgotten.

Three models a task: `joint` learns A to F together, `sequential` is fine-tuned on A, B, C, D in that order, and both
are scored on patients held out. The short run is part of every check; the long ones are marked slow.
The scanners were tuned with seeds 0, 1 and 100 to 106 in sight; seeds 7, 8 and 9 were run once, afterwards, and hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from sites.scoring import predict
from sites.sources.phantom import Phantom, PhantomConfig, open_phantom
from strategies.common.segmenter import build_segmenter, slices_of, train_segmenter
from strategies.setting import Budget, NetworkConfig, Setting

ARRIVALS, PAST, UNSEEN = "ABCD", "ABC", "EF"
CASES = {"prostate": 20, "fundus": 40}
HELD_OUT = 8


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Dice of the two models by site."""

    joint: dict[str, float]
    sequential: dict[str, float]

    def lost(self, sites: str) -> float:
        return sum(self.joint[site] - self.sequential[site] for site in sites) / len(sites)


def dice(network: nn.Module, source: Phantom, site: str) -> float:
    """Mean over cases and structures; a case's slices count as one volume."""
    scores = []
    for case in source.held_out(site, HELD_OUT):
        found = predict(network, case.images)
        shared = (found & case.masks).sum(dim=(0, 2, 3))
        scores.append(2 * shared / (found.sum(dim=(0, 2, 3)) + case.masks.sum(dim=(0, 2, 3))))
    return float(torch.stack(scores).mean())


def run(task: str, seed: int, iterations: int) -> Outcome:
    source = open_phantom(task, PhantomConfig(), seed)
    setting = Setting(
        shape=source.shape,
        network=NetworkConfig(norm="batch"),
        budget=Budget(iterations=iterations),
        augmentation="none",
        seed=seed,
        sites=("A",),
        most_cases=CASES[task],
    )
    data = {site: slices_of(source.train(site, 0, CASES[task])) for site in ARRIVALS + UNSEEN}

    def fit(network: nn.Module, sites: Sequence[str], steps: int) -> None:
        images: list[Tensor] = [data[site][0] for site in sites]
        masks: list[Tensor] = [data[site][1] for site in sites]
        train_segmenter(network, setting, torch.cat(images), torch.cat(masks), iterations=steps, seed=seed)

    joint, sequential = build_segmenter(setting), build_segmenter(setting)
    fit(joint, ARRIVALS + UNSEEN, len(ARRIVALS) * iterations)
    for site in ARRIVALS:
        fit(sequential, site, iterations)
    return Outcome(
        joint={site: dice(joint, source, site) for site in data},
        sequential={site: dice(sequential, source, site) for site in data},
    )


def check(outcome: Outcome) -> None:
    assert min(outcome.joint.values()) > 0.90, outcome
    assert outcome.lost(PAST) > 0.10, outcome
    assert outcome.lost(UNSEEN) > 0.05, outcome


@pytest.mark.slow
def test_prostate_sites_can_be_learnt_together_and_are_forgotten_in_sequence() -> None:
    check(run("prostate", seed=0, iterations=100))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("task", ["prostate", "fundus"])
def test_both_tasks_hold_with_the_usual_budget(task: str, seed: int) -> None:
    check(run(task, seed, iterations=150))
