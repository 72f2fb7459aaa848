"""Made-up runs for the tests of the report: plausible scores, releases and sample slices."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from simulator.report.view import RunView, Sample, StepView

NAMES = ("Aalen", "Bergen", "Chania", "Dresden", "Espoo", "Firenze", "Graz", "Hoorn", "Izola", "Jena", "Kyiv", "Lund")


def make_view(seen: int = 4, steps: int = 4, unseen: int = 2, cases: int = 6, pixels: int = 64) -> RunView:
    """A run in which sites arrive one by one (two at once where sites outnumber steps), forgetting a little."""
    random = np.random.default_rng(7)
    sites = NAMES[: seen + unseen]
    arriving = {
        step: tuple(sites[k] for k in range(seen) if k * steps // seen + 1 == step) for step in range(1, steps + 1)
    }
    first = {site: step for step, names in arriving.items() for site in names}
    views = tuple(StepView(step=step, arriving=arriving[step], online=_online(sites, first, step)) for step in arriving)
    return RunView(
        name="prostate-6 smdr",
        task="prostate",
        strategy="smdr",
        settings={
            "strategy.name": "smdr",
            "budget.iterations": "400",
            "schedule": "benchmarks/schedules/prostate.yaml",
        },
        versions={"python": "3.11.7", "torch": "2.8.0"},
        seed=3,
        steps=views,
        unseen=sites[seen:],
        sites=sites,
        structures=("prostate", "zone"),
        scores=_scores(sites, first, steps, cases, random),
        releases=_releases(sites, first, steps),
        samples=tuple(_sample(site, first.get(site, 1), steps, pixels, random) for site in sites),
        failures=(),
        complete=True,
    )


def _online(sites: tuple[str, ...], first: dict[str, int], step: int) -> tuple[str, ...]:
    return tuple(site for site in sites if site not in first or first[site] <= step < first[site] + 3)


def _scores(
    sites: tuple[str, ...], first: dict[str, int], steps: int, cases: int, random: np.random.Generator
) -> pd.DataFrame:
    rows = []
    for step in range(steps + 1):
        for column, site in enumerate(sites):
            age = step - first.get(site, steps + 9)
            level = 0.1 if step == 0 else 0.9 - 0.03 * age if age >= 0 else 0.6 + 0.12 * step / steps
            for case in range(cases):
                for structure, ease in (("prostate", 0.02), ("zone", -0.05)):
                    dice = float(np.clip(level + ease - 0.008 * column + random.normal(0, 0.02), 0, 1))
                    rows.append(
                        (step, site, f"case-{case}", structure, dice, 2 + 40 * (1 - dice), 0.5 + 9 * (1 - dice))
                    )
    return pd.DataFrame(rows, columns=["step", "site", "case", "structure", "dice", "hd95", "asd"])


def _releases(sites: tuple[str, ...], first: dict[str, int], steps: int) -> pd.DataFrame:
    learn = [(site, step, "learn", *what) for site, step in first.items() for what in _what_leaves(step)]
    score = [(site, step, "score", "scores.dice", "SCORE", 480) for step in range(steps + 1) for site in sites]
    return pd.DataFrame(learn + score, columns=["site", "step", "purpose", "field", "kind", "bytes"])


def _what_leaves(step: int) -> tuple[tuple[str, str, int], ...]:
    return ("prompt", "PROMPT", 58_656), ("diffusion", "DIFFUSION", 10_612_000 if step == 1 else 2_600_000)


def _sample(site: str, first: int, steps: int, pixels: int, random: np.random.Generator) -> Sample:
    down, across = np.mgrid[:pixels, :pixels] / pixels - 0.5
    tilt = random.normal(0, 0.05, 2)
    radius = np.hypot((across - tilt[0]) * 1.1, (down - tilt[1]) * 1.4)
    reference = np.stack([radius < 0.3, np.hypot(across - tilt[0], (down - tilt[1] - 0.05) * 1.6) < 0.15])
    body = 0.25 + 0.3 * (np.hypot(across, down * 1.2) < 0.46) + 0.18 * reference[0] - 0.12 * reference[1]
    image = np.clip(body + random.normal(0, 0.05, body.shape), 0, 1)
    predictions = {}
    for step in range(1, steps + 1):
        off = 0.03 + 0.02 * abs(step - first)
        moved = np.hypot((across - tilt[0] - off) * 1.1, (down - tilt[1]) * 1.4) + 0.01 * np.sin(30 * across)
        inner = np.hypot(across - tilt[0] + off, (down - tilt[1] - 0.05) * 1.6)
        predictions[step] = np.stack([moved < 0.31, inner < 0.14]).astype(np.uint8)
    return Sample(site=site, image=image, reference=reference.astype(np.uint8), predictions=predictions)


@pytest.fixture(name="make_view")
def _make_view() -> Callable[..., RunView]:
    return make_view


@pytest.fixture(scope="session")
def view() -> RunView:
    """Six sites, of which two unseen, and four steps."""
    return make_view()
