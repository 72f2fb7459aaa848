"""Measures what secure aggregation costs: bytes and CPU time of `fedavg` on the smoke schedule, and of masks alone.

    python benchmarks/speed/aggregation.py run      # three sites at once, ten rounds, with masks and without, in turn
    python benchmarks/speed/aggregation.py masks    # masking a million weights among so many sites, and their mean

All is CPU time of one thread, seed 0. A run's is that of its turns, all sites and the server together.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, TypeVar

import torch
import yaml
from torch import Tensor

from simulator.flower.launch import launch
from simulator.flower.server_app import Silence
from simulator.schedule import read_schedule
from simulator.store import Store
from sites.aggregation import Masks, masked_manifest, mean_of, private_key, public_key, roster_of
from sites.ledger import Row, read_rows
from sites.secret import Secret
from sites.stream import Turn
from sites.wire import Kind, Payload, digest_of_body, manifest_of, unpack

REPEATS = 5
ROUNDS = 10
SITES = (3, 10, 30)
WEIGHTS = 1_000_000
SETTINGS = ("strategy=fedavg", "arrivals=[[A, B, C]]", f"budget.rounds={ROUNDS}")

T = TypeVar("T")


def finished(folder: Path, policy: dict[str, object]) -> Store:
    """Run the schedule under a policy, in this process."""
    folder.mkdir()
    path = folder / "policy.yaml"
    path.write_text(yaml.safe_dump({"admit": ["segmenter", "count", "score", "key"], **policy}))
    schedule = read_schedule(Path("smoke"), [*SETTINGS, f"policy={path}"], seed=0)
    schedule.check()
    store = Store.create(folder / "run", schedule)
    launch(store, "local", Silence())
    return store


def bytes_of(rows: Iterable[Row], event: str) -> float:
    """Return the bytes that a site sent or got in a round to learn, keys and rosters included."""
    return sum(row["bytes"] for row in rows if row["event"] == event and row["purpose"] in ("learn", "keys")) / ROUNDS


def run() -> dict[str, object]:
    """Compare a run whose uploads can be read with one whose uploads can be summed alone."""
    policies: dict[str, dict[str, object]] = {"without": {}, "with": {"secure_aggregation": {"least": 3}}}
    seconds: dict[str, list[float]] = {name: [] for name in policies}
    traffic: dict[str, dict[str, float]] = {}
    dice: dict[str, float] = {}
    with TemporaryDirectory() as folder:
        for repeat in range(REPEATS):
            for name, policy in policies.items():
                store = finished(Path(folder) / f"{name}-{repeat}", policy)
                seconds[name].append(sum(row["cpu_seconds"] for row in store.times() if row["purpose"] == "learn"))
                scores = store.scores()
                dice[name] = float(scores[scores["step"] == scores["step"].max()]["dice"].mean())
                rows = read_rows(store.home("A").root / "ledger.jsonl")
                traffic[name] = {"up": bytes_of(rows, "release"), "down": bytes_of(rows, "received")}
    return {
        "bytes of a site in a round": traffic,
        "mean Dice at the end, of all sites": dice,
        "CPU seconds of a round, three sites and the server": {
            name: {"median": median(values) / ROUNDS, "least": min(values) / ROUNDS, "most": max(values) / ROUNDS}
            for name, values in seconds.items()
        },
    }


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """As many weights as a network of some size has, and a number of cases."""

    segmenter: Annotated[Tensor, Kind.SEGMENTER]
    cases: Annotated[Tensor, Kind.COUNT]


def timed(work: Callable[[], T]) -> tuple[float, T]:
    began = time.process_time()
    done = work()
    return time.process_time() - began, done


def masks() -> dict[str, object]:
    """Time what one site does to mask an upload, agreement included, and what the server does with all of them."""
    turn, down = Turn(step=1, round=1, serial=1), {"segmenter": b""}
    weights = torch.randn(WEIGHTS, generator=torch.Generator().manual_seed(0))
    upload = Upload(segmenter=weights, cases=torch.tensor([20]))
    manifest, found = manifest_of(upload), {}
    for count in SITES:
        keys = {place: private_key(Secret(str(place).encode()), turn) for place in range(count)}
        public = {place: public_key(key) for place, key in keys.items()}
        roster = roster_of(public, dict.fromkeys(public, down), count)

        def hidden(place: int) -> dict[str, bytes]:
            told = digest_of_body(down)
            own = Masks(keys[place], roster, turn, own=place, down=told, weight="cases")  # noqa: B023
            return own.hide(upload, manifest)

        pairs = [timed(lambda place=place: hidden(place)) for place in range(count)]  # type: ignore[misc]
        bodies = [unpack(upload, masked_manifest(manifest), body) for _, body in pairs]
        server, _ = timed(lambda: mean_of(bodies, upload, manifest, "cases"))  # noqa: B023
        found[count] = {"a site, median": median(seconds for seconds, _ in pairs), "the server": server}
    return {"weights": WEIGHTS, "CPU seconds by the number of sites": found}


if __name__ == "__main__":
    measured = {"run": run, "masks": masks}
    if sys.argv[1:] not in [[name] for name in measured]:
        sys.exit(__doc__)
    torch.set_num_threads(1)
    print(json.dumps(measured[sys.argv[1]](), indent=1))
