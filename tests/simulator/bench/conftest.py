"""What the tests of a bench share: a tiny suite whose trials run in this process, and made-up results."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from simulator.bench.results import Results
from simulator.metrics import METRICS, ScoreMatrix

# label: level on seen sites, loss a step, level on unseen sites, bytes, kinds, CPU seconds
STRATEGIES: dict[str, tuple[float, float, float, int, str, float]] = {
    "joint": (0.930, 0.000, 0.905, 310_000_000, "image+label", 410),
    "finetune": (0.925, 0.055, 0.845, 42_000_000, "segmenter", 95),
    "ewc": (0.915, 0.028, 0.860, 84_000_000, "segmenter+statistic", 140),
    "fedavg": (0.918, 0.012, 0.880, 168_000_000, "count+segmenter", 120),
    "smdr_onsite": (0.926, 0.004, 0.898, 53_000_000, "diffusion+prompt+segmenter", 520),
    "smdr": (0.914, 0.003, 0.888, 10_800_000, "diffusion+prompt", 610),
}
NOTHING = {"bytes_up": 0, "bytes_first": 0, "kinds_up": "", "commit": "", "sited": False}
MACHINE = {
    "cores": "2",
    "processor": "Intel Xeon",
    "platform": "Linux-6.1-x86_64",
    "python": "3.11.2",
    "torch": "2.8.0",
    "commit": "5eb1e04c",
    "date": "2026-11-23",
}


def make_results(
    *,
    strategies: Sequence[str] = tuple(STRATEGIES),
    schedules: Sequence[str] = ("prostate-phantom", "fundus-phantom"),
    orders: Sequence[str] = ("A-B-C-D", "C-A-D-B"),
    seeds: int = 5,
    unseen: Sequence[str] = ("E", "F"),
    failed: Sequence[tuple[str, str, str, int]] = (),
    reference: str | None = "joint",
    noise: float = 0.004,
) -> Results:
    """A bench in which trials of one (order, seed) share luck; a strategy with an unknown label is like ewc."""
    random = np.random.default_rng(11)
    trials, matrix, diagnostics, times = [], [], [], []
    for place, schedule in enumerate(schedules):
        luck = {(order, seed): random.normal(-0.015 * place, noise) for order in orders for seed in range(seeds)}
        for number, strategy in enumerate(strategies):
            for order in orders:
                for seed in range(seeds):
                    identity = hashlib.sha256(f"{schedule} {strategy} {order} {seed}".encode()).hexdigest()
                    row: dict[str, object] = {
                        **{"trial": identity, "schedule": schedule, "strategy": strategy, "order": order},
                        **{"seed": seed, "status": "done", "reason": "", "sited": False},
                    }
                    if (schedule, strategy, order, seed) in failed:
                        trials.append(row | {"status": "failed", "reason": "site B, step 2: OUT_OF_MEMORY"})
                        continue
                    traits = STRATEGIES.get(strategy, (0.90 + 0.001 * number, 0.02, 0.85, 10**6, "segmenter", 100.0))
                    own = luck[order, seed] + random.normal(0, 2 * noise)
                    cells = _matrix(
                        identity,
                        traits=traits,
                        order=order.split("-"),
                        unseen=unseen,
                        luck=own,
                        noise=noise,
                        random=random,
                    )
                    matrix += cells
                    trials.append(row | _scores(cells) | _released(traits))
                    wall = traits[5] * random.uniform(0.95, 1.1)
                    steps = len(order.split("-"))
                    times += [
                        (identity, step, "learn", wall * 0.98 / steps, wall / steps) for step in range(1, steps + 1)
                    ]
                    if strategy.startswith("smdr"):
                        diagnostics += _cosines(identity, order.split("-"), random)
    columns = ["trial", "step", "site", "arrived", "dice", "hd95", "asd"]
    return Results(
        suite="phantoms",
        description="Prostate and fundus phantoms, four sites seen and two unseen, every strategy on one budget.",
        reference=reference if reference in strategies else None,
        strategies=tuple(strategies),
        schedules=tuple(schedules),
        trials=pd.DataFrame(trials).reindex(columns=_columns()).fillna(NOTHING),
        matrix=pd.DataFrame(matrix, columns=columns),
        diagnostics=pd.DataFrame(diagnostics, columns=["trial", "step", "site", "name", "index", "value"]),
        times=pd.DataFrame(times, columns=["trial", "step", "purpose", "cpu_seconds", "wall_seconds"]),
        machine=MACHINE,
    )


def _columns() -> list[str]:
    names = ("accuracy", "unseen", "plasticity", "backward_transfer", "forgetting", "forward_transfer")
    scores = [f"{metric.key}_{name}" for metric in METRICS for name in names]
    first = ["trial", "schedule", "strategy", "order", "seed", "status", "reason"]
    return [*first, *scores, "dice_intransigence", "bytes_up", "bytes_first", "kinds_up", "sited", "commit"]


def _matrix(
    identity: str,
    *,
    traits: tuple[float, float, float, int, str, float],
    order: Sequence[str],
    unseen: Sequence[str],
    luck: float,
    noise: float,
    random: np.random.Generator,
) -> list[tuple[object, ...]]:
    level, loss, far, *_ = traits
    rows: list[tuple[object, ...]] = []
    for step in range(len(order) + 1):
        for site in [*sorted(order), *unseen]:
            arrived = order.index(site) + 1 if site in order else 0
            age = step - arrived
            base = level - loss * age if arrived and age >= 0 else far - 0.09 * (len(order) - step) / len(order)
            dice = 0.15 if step == 0 else float(np.clip(base + luck + random.normal(0, noise), 0, 1))
            rows.append((identity, step, site, arrived, dice, 2 + 40 * (1 - dice), 0.5 + 9 * (1 - dice)))
    return rows


def _scores(cells: Sequence[tuple[object, ...]]) -> dict[str, float]:
    frame = pd.DataFrame(cells, columns=["trial", "step", "site", "arrived", "dice", "hd95", "asd"])
    first = frame.drop_duplicates("site").set_index("site")["arrived"]
    arrivals = {str(site): (int(step),) if step else () for site, step in first.items()}
    found = {}
    for metric in METRICS:
        values = frame[metric.key].to_numpy().reshape(-1, len(arrivals))
        scores = ScoreMatrix(values, tuple(arrivals), arrivals, metric.higher_is_better)
        found |= {f"{metric.key}_{name}": value for name, value in scores.summary().items()}
    return found


def _released(traits: tuple[float, float, float, int, str, float]) -> dict[str, object]:
    return {"bytes_up": traits[3], "bytes_first": traits[3] // 4, "kinds_up": traits[4], "commit": MACHINE["commit"]}


def _cosines(identity: str, order: Sequence[str], random: np.random.Generator) -> list[tuple[object, ...]]:
    rows = []
    for step, site in enumerate(order, start=1):
        for index in range(30):
            for name, level in (("cosine_orientational", 0.4), ("cosine_arbitrary", 0.2)):
                value = float(np.clip(level * (1 - np.exp(-index / 8)) + random.normal(0, 0.15), -1, 1))
                rows.append((identity, step, site, name, index, value))
    return rows


@pytest.fixture(name="make_results", scope="session")
def _make_results() -> Callable[..., Results]:
    return make_results


@pytest.fixture(scope="session")
def results() -> Results:
    """Six strategies on two schedules, five seeds in two orders; two trials failed."""
    return make_results(
        failed=[("fundus-phantom", "ewc", "A-B-C-D", 3), ("fundus-phantom", "smdr", "C-A-D-B", 0)],
    )


SUITE = {
    "schedules": ["tiny.yaml"],
    "strategies": ["finetune", {"name": "joint", "policy": "reference-only"}],
    "orders": 1,
    "seeds": 1,
    "reference": "joint",
}


@pytest.fixture
def suite(tiny: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a tiny suite beside a tiny schedule, some keys replaced (None: left out)."""

    def write(**keys: object) -> Path:
        if not (tmp_path / "tiny.yaml").exists():
            tiny()
        path = tmp_path / "suite.yaml"
        content = {key: value for key, value in {**SUITE, **keys}.items() if value is not None}
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    return write


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Return a function that returns what was printed on standard output since its last call."""
    from simulator import terminal

    paper = io.StringIO()
    monkeypatch.setattr(terminal.out, "file", paper)

    def since() -> str:
        text = paper.getvalue()
        paper.seek(0)
        paper.truncate()
        return text

    return since
