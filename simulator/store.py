"""The run folder: settings, scores, receipts, predictors, the sites' private folders, checkpoint, and `done`."""

from __future__ import annotations

import fcntl
import json
import platform
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from simulator.schedule import Schedule, as_yaml, rebuild, schedule_document
from simulator.site import Home
from sites.errors import UserError
from sites.files import write_whole
from sites.ledger import Row, mend, read_rows
from sites.scoring import METRICS
from strategies import Server

if TYPE_CHECKING:
    import pandas as pd

PACKAGES = ("wardround", "torch", "flwr", "ray", "monai", "diffusers", "numpy", "pandas", "pydantic")
ROLLED_BACK = ("scores", "diagnostics")


class Store:
    """A run's folder.

    Scores, diagnostics and times are cut back to the newest checkpoint on resuming; receipts and ledgers never are.
    """

    def __init__(self, root: Path) -> None:
        """Open a run folder. Raises `UserError` where it is not one."""
        if not (root / "config.yaml").exists():
            raise UserError(f"{root}: is not a run folder (it has no config.yaml); name one that `wardround run` made")
        self.root = root

    @classmethod
    def create(cls, root: Path, schedule: Schedule) -> Store:
        """Make a run folder, each site with its own copy of its policy. Raises `UserError` where one is there."""
        if root.exists() and any(root.iterdir()):
            raise UserError(f"{root}: is there already and not empty; choose another --out, or --resume it")
        for site, policy in schedule.policies.items():
            write_whole(root / "sites" / site / "policy.yaml", as_yaml(policy.model_dump(mode="json")))
        write_whole(root / "versions.json", json.dumps(versions(), indent=1) + "\n")
        write_whole(root / "config.yaml", as_yaml(schedule.resolved()))
        return cls(root)

    def held(self, patience: float = 0.0) -> AbstractContextManager[None]:
        """Keep the folder for one process at a time. Raises `UserError` where another one still runs it.

        patience: seconds to wait for the other one's end
        """
        return held(self.root, patience)

    def schedule(self) -> Schedule:
        """Return the schedule that the run was started with."""
        return rebuild(schedule_document(self.root / "config.yaml"))

    def home(self, site: str) -> Home:
        """Return a simulated site's private folder."""
        return Home(site=site, root=self.root / "sites" / site)

    @property
    def done(self) -> bool:
        return (self.root / "done").exists()

    def restore(self, server: Server[Any, Any]) -> int:
        """Bring a server back to the newest checkpoint and cut the scores to it; return its serial, or -1."""
        mend(self.root / "receipts.jsonl")
        place = self.load(server)
        for name in ROLLED_BACK:
            _cut(self._table(name), place.get(name, 0))
        times = [row for row in self.times() if row["serial"] <= place["serial"]]
        write_whole(self._table("times"), "".join(map(_line, times)))
        return place["serial"]

    def load(self, server: Server[Any, Any]) -> dict[str, int]:
        """Bring a server back to the newest checkpoint, and return the run's place: its serial and the logs' sizes."""
        path = self.root / "checkpoint.safetensors"
        if not path.exists():
            return {"serial": -1}
        with safe_open(path, framework="pt") as checkpoint:
            place: dict[str, int] = json.loads(checkpoint.metadata()["place"])
            server.load_state_dict({key: checkpoint.get_tensor(key) for key in checkpoint.keys()})  # noqa: SIM118
        return place

    def checkpoint(self, state: Mapping[str, Tensor], serial: int) -> None:
        """Save the server's state and the run's place, whole or not at all."""
        sizes = {name: path.stat().st_size for name in ROLLED_BACK if (path := self._table(name)).exists()}
        place = {"serial": serial, **sizes}
        tensors = {key: tensor.detach().contiguous().clone() for key, tensor in state.items()}
        write_whole(self.root / "checkpoint.safetensors", save(tensors, metadata={"place": json.dumps(place)}))

    def finish(self, sites: Iterable[str]) -> None:
        """Mark the run as done: every step and site did what the schedule says. Keeps a seal of each site's ledger."""
        seals = {site: self.home(site).seal().model_dump() for site in sites}
        write_whole(self.root / "seals.json", json.dumps(seals) + "\n")
        write_whole(self.root / "done", json.dumps({"finished": now()}) + "\n")

    def add_scores(self, rows: Iterable[Mapping[str, Any]]) -> None:
        _append(self._table("scores"), rows)

    def add_diagnostics(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keep what the strategy's server says of its own working: rows of step, site, name, index, value."""
        _append(self._table("diagnostics"), rows)

    def add_times(self, row: Mapping[str, Any]) -> None:
        """Keep what a turn cost; `serial` is the turn's."""
        _append(self._table("times"), [row])

    def add_receipts(self, rows: Iterable[Mapping[str, Any]]) -> None:
        _append(self.root / "receipts.jsonl", rows)

    def add_failures(self, rows: Iterable[Mapping[str, Any]]) -> None:
        _append(self.root / "failures.jsonl", rows)

    def add_predictors(self, step: int, networks: Mapping[str, nn.Module]) -> None:
        """Keep each site's segmenter as it stands after a step (0: untrained); sites may share one."""
        distinct = {id(network): network for network in networks.values()}
        places = {which: str(place) for place, which in enumerate(distinct)}
        tensors = {
            f"{places[which]}/{key}": tensor.detach().contiguous().clone()
            for which, network in distinct.items()
            for key, tensor in network.state_dict().items()
        }
        sites = json.dumps({site: places[id(network)] for site, network in networks.items()})
        path = self.root / "predictors" / f"step-{step:03d}.safetensors"
        write_whole(path, save(tensors, metadata={"sites": sites}))

    def predictors(self, site: str) -> dict[int, dict[str, Tensor]]:
        """Return the weights of a site's segmenter after each step that was scored."""
        found = {}
        for path in sorted((self.root / "predictors").glob("step-*.safetensors")):
            with safe_open(path, framework="pt") as file:
                prefix = json.loads(file.metadata()["sites"])[site] + "/"
                keys = [key for key in file.keys() if key.startswith(prefix)]  # noqa: SIM118
                weights = {key.removeprefix(prefix): file.get_tensor(key) for key in keys}
            found[int(path.stem.removeprefix("step-"))] = weights
        return found

    def scores(self) -> pd.DataFrame:
        """Return the scores: a row for each step, site, case and structure."""
        import pandas as pd

        rows = read_rows(self._table("scores"))
        return pd.DataFrame(rows, columns=["step", "site", "case", "structure", *METRICS])

    def times(self) -> list[Row]:
        """Return what each turn cost, in the order of the run."""
        return read_rows(self._table("times"))

    def diagnostics(self) -> list[Row]:
        """Return what the strategy's server said of its own working, in the order of the run."""
        return read_rows(self._table("diagnostics"))

    def releases(self) -> list[Row]:
        """Return a receipt for each field that a site released, one a turn: a turn done again released the same."""
        rows = read_rows(self.root / "receipts.jsonl")
        return list(
            {tuple(row[key] for key in ("site", "step", "round", "purpose", "field")): row for row in rows}.values()
        )

    def versions(self) -> dict[str, str]:
        """Return what the run was made with."""
        found: dict[str, str] = json.loads((self.root / "versions.json").read_text(encoding="utf-8"))
        return found

    def failures(self) -> tuple[str, ...]:
        """Return a sentence for each site that failed, oldest first."""
        rows = read_rows(self.root / "failures.jsonl")
        return tuple(f"site '{r['site']}' failed to {r['purpose']} at step {r['step']}: {r['code']}" for r in rows)

    def _table(self, name: str) -> Path:
        return self.root / f"{name}.jsonl"


@contextmanager
def held(root: Path, patience: float = 0.0) -> Iterator[None]:
    """Keep a folder for one process at a time. Raises `UserError` where another still has it after `patience` s."""
    deadline = time.monotonic() + patience
    with (root / "lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    message = f"{root}: another process is running it; wait for its end, or stop it"
                    raise UserError(message) from error
                time.sleep(0.1)
        yield


def now() -> str:
    """Return the time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Return what the run was made with: package versions, Python, the commit of a checkout, and the time."""
    return {"python": platform.python_version(), "started": now(), **_installed()}


@cache
def _installed() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    here = Path(__file__).parent
    with suppress(OSError, subprocess.SubprocessError):
        command = ["git", "-C", str(here), "describe", "--always", "--dirty"]
        described = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
        found["commit"] = described.stdout.strip()
    return found


def _append(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(map(_line, rows)))


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row) + "\n"


def _cut(path: Path, size: int) -> None:
    """Cut a file back to a size in bytes; where there is none, there is nothing to cut."""
    if path.exists():
        with path.open("r+b") as file:
            file.truncate(size)
