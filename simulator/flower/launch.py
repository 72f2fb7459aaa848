"""Runs a store's schedule on one of our own Grids."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from flwr.app import Context, RecordDict
from flwr.serverapp import Grid

from simulator.flower.server_app import server_app
from simulator.loop import Progress
from simulator.store import Store
from sites.errors import WardroundError

GridName = Literal["local", "actors"]

QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_LOG_LEVEL": "CRITICAL",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # Ray would let any other process of the machine go first
    "OMP_NUM_THREADS": "1",
}


def launch(store: Store, grid_name: GridName, progress: Progress, address: str | None = None) -> None:
    """Run a store's schedule to its end, in this process or on Ray (`address` attaches to a running one).

    Raises `SitesFailed` where a site does not do what the schedule says.
    """
    context = Context(
        run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config={"run-dir": str(store.root.resolve())}
    )
    with _grid(store, grid_name, address) as grid:
        server_app(progress)(grid=grid, context=context)


@contextmanager
def _grid(store: Store, name: GridName, address: str | None) -> Iterator[Grid]:
    schedule = store.schedule()
    homes = [store.home(site) for site in schedule.timeline.sites]
    if name == "local":
        from simulator.flower.grids.local import LocalGrid

        yield LocalGrid(homes)
        return
    with on_ray(address):
        import ray

        from simulator.flower.grids.actors import SiteActorGrid

        cores = int(ray.cluster_resources().get("CPU", 1))
        grid = SiteActorGrid(homes, actors=cores, reply_seconds=schedule.config.limits.reply_seconds)
        try:
            yield grid
        finally:
            grid.close()


@contextmanager
def on_ray(address: str | None, cores: int | None = None) -> Iterator[None]:
    """Start Ray in silence, or attach to a running one; leave no process of ours behind.

    cores: how many tasks a Ray started here runs at a time, the machine's cores unless it is given
    Raises `WardroundError` where Ray can't be started or reached.
    """
    import ray

    os.environ.update(QUIET)
    here = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")]))
    attaching = {"address": address, "runtime_env": {"env_vars": {**QUIET, "PYTHONPATH": here}}}
    starting = {"num_cpus": cores, "include_dashboard": False}
    on_kill = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **(attaching if address else starting))
    except Exception as error:  # Ray raises bare exceptions here, after half a minute on a machine that is too busy
        what = f"can't reach Ray at {address}" if address else "Ray can't start; where the machine is busy, try again"
        raise WardroundError(f"{what} ({' '.join(str(error).split())})") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_kill)  # Ray has put one of its own there, which aborts
    try:
        yield
    finally:
        ray.shutdown()
