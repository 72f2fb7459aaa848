"""Go back to the trials of a bench that are done, for what is measured on them afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from simulator.bench.keeping import demand_networks
from simulator.bench.store import BenchStore
from simulator.terminal import err
from sites.errors import UserError


def revisit(store: BenchStore, made: str) -> Iterator[Path]:
    """Yield the run folder of each trial that is done and has no file `made` in it yet, and say which trial it is.

    Raises `UserError`, before the first, where no trial is done, or one to go back to has let go of its networks.
    """
    done = [row for row in store.planned if store.ending(row.trial).status == "done"]
    if not done:
        raise UserError(f"{store.root}: no trial is done; run the suite first, with: wardround bench")
    waiting = [row for row in done if not (store.trial_root(row.trial) / made).exists()]
    for row in waiting:
        demand_networks(store.trial_root(row.trial))
    for number, row in enumerate(waiting, start=1):
        err.print(f"trial {number} of {len(waiting)}: {row.schedule}, {row.strategy}, {row.order}, seed {row.seed}")
        yield store.trial_root(row.trial)
