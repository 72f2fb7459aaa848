"""One run of two honest sites, and all that they said."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from flwr.app import Message

from simulator.flower.grids import local
from simulator.flower.launch import launch
from simulator.flower.server_app import Silence
from simulator.flower.site_app import app
from simulator.schedule import read_schedule
from simulator.store import Store
from tests.simulator.flower.talk import Exchanged

SCHEDULE = """
task: prostate
source: {kind: phantom, size: 32, slices: 1}
arrivals: [A]
unseen: [E]
cases: {train: 2, held_out: 1}
strategy: finetune
network: {widths: [4, 8], residual_units: 0}
budget: {iterations: 1, batch: 2}
"""


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Exchanged]:
    """Run two sites in this process; return the run's folder, and each site's requests with their replies."""
    found: Exchanged = {"A": [], "E": []}

    def noting(
        self: local.LocalGrid, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        for message in messages:
            message.metadata.__dict__["_message_id"] = message.object_id
            context = self._contexts[message.metadata.dst_node_id]
            reply = app(message, context)
            found[str(context.node_config["site"])].append((message, reply))
            yield reply

    folder = tmp_path_factory.mktemp("wire")
    (folder / "schedule.yaml").write_text(SCHEDULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local.LocalGrid, "send_and_receive", noting)
        store = Store.create(folder / "run", read_schedule(folder / "schedule.yaml"))
        launch(store, "local", Silence())
    return store.root, found


@pytest.fixture
def exchanged(original: tuple[Path, Exchanged], tmp_path: Path) -> tuple[Path, Exchanged]:
    """A copy of the run that a test may add to."""
    shutil.copytree(original[0], tmp_path / "run")
    return tmp_path / "run", original[1]
