"""What a worker does for one trial: run it, or go on with it, in its own run folder and in this process."""

from __future__ import annotations

import shutil
import traceback
from pathlib import Path
from tempfile import TemporaryDirectory

from simulator.bench.store import Ending
from simulator.flower.launch import launch
from simulator.flower.server_app import Silence
from simulator.schedule import from_json, read_schedule
from simulator.store import Store
from sites.errors import WardroundError
from sites.files import write_whole

# A worker of a bench that was killed may take this long to notice, and holds its trial's folder until then.
ORPHAN_SECONDS = 60.0


def warm() -> None:
    """Run something small, so that no trial is charged with what the first one in a process has to load."""
    schedule = read_schedule(Path("smoke"), ("budget.iterations=1", "cases={train: 1, held_out: 1}"))
    with TemporaryDirectory() as folder:
        launch(Store.create(Path(folder) / "run", schedule), "local", Silence())


def run_trial(root: Path, schedule: str) -> Ending:
    """Run a trial (its resolved schedule as JSON) to its end on the local grid, from where its folder stands.

    Never raises for what goes wrong in the trial: the ending has a line about it, `error.txt` in the folder the whole.
    """
    try:
        if not (root / "config.yaml").exists():
            shutil.rmtree(root, ignore_errors=True)  # a folder that a kill left half made
            Store.create(root, from_json(schedule))
        store = Store(root)
        with store.held(ORPHAN_SECONDS):
            pass
        if not store.done:
            launch(store, "local", Silence())
    except Exception as error:
        write_whole(root / "error.txt", traceback.format_exc())
        text = " ".join(str(error).split())
        return Ending(
            status="failed", reason=text if isinstance(error, WardroundError) else f"{type(error).__name__}: {text}"
        )
    return Ending(status="done")
