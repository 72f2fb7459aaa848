"""A real deployment on this machine: a SuperLink, and for each site a SuperNode that has a relay as its one door."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from simulator.flower.enclosure import GRACE_SECONDS, can_part, enclosed
from simulator.flower.launch import QUIET
from simulator.flower.relay import Relay
from simulator.loop import Progress, events_of
from simulator.site import Home
from simulator.store import Store
from sites.errors import WardroundError
from sites.files import write_whole

SITE_APP = "simulator.flower.site_app"
START_SECONDS = 90.0
LOOK_SECONDS = 1.0
LOCALHOST = "127.0.0.1"
BIN = Path(sys.executable).parent
PROJECT = """[project]
name = "wardround-wire"
version = "1.0.0"

[tool.flwr.app]
publisher = "wardround"

[tool.flwr.app.components]
serverapp = "apps:server"
clientapp = "apps:site"

[tool.flwr.app.config]
run-dir = ""
"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a deployment keeps things: its evidence in the run folder, what Flower needs elsewhere, its SuperLink."""

    evidence: Path
    scratch: Path
    superlink: tuple[str, int]

    @property
    def address(self) -> str:
        return f"{self.superlink[0]}:{self.superlink[1]}"

    def environment(self, whose: str) -> Mapping[str, str]:
        """Return the environment of one of the processes: a Flower home of its own, and no proxy in between."""
        here = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        path = os.pathsep.join(filter(None, [str(BIN), os.environ.get("PATH")]))
        modules = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")]))
        home = str(self.scratch / f"home-{whose}")
        return {**here, **QUIET, "FLWR_LOG_LEVEL": "INFO", "FLWR_HOME": home, "PATH": path, "PYTHONPATH": modules}


def deploy(store: Store, progress: Progress, site_app: str = SITE_APP) -> None:
    """Run a store's schedule to its end on a deployment, and keep all that crossed the wire in the run folder.

    site_app: the module that holds the sites' ClientApp
    Raises `WardroundError` where a part of the deployment does not start, or a site does not do its part.
    """
    asyncio.run(_deploy(store, progress, site_app))


async def _deploy(store: Store, progress: Progress, site_app: str) -> None:
    homes = [store.home(site) for site in store.schedule().timeline.sites]
    with tempfile.TemporaryDirectory(prefix="wardround-") as scratch:
        place = Place(
            evidence=_new_session(store.root / "wire"), scratch=Path(scratch), superlink=(LOCALHOST, _free_port())
        )
        progress.doing(f"starting a SuperLink and {len(homes)} SuperNodes")
        async with _session(place), AsyncExitStack() as running:
            parts = {"superlink": await running.enter_async_context(_superlink(place))}
            for home in homes:
                parts[_log_of(home.site)] = await running.enter_async_context(_site(home, place))
            await _run(store, place, progress, parts, site_app)
    if not store.done:
        told = store.failures()[-1:] or (f"the run did not end; {place.evidence} holds the logs of its parts",)
        raise WardroundError(told[0])


def _new_session(wire: Path) -> Path:
    """Make the folder of the next deployment of a run: one that is resumed has several."""
    folder = wire / str(len([path for path in wire.glob("*") if path.is_dir()]) + 1)
    folder.mkdir(parents=True)
    return folder


@asynccontextmanager
async def _session(place: Place) -> AsyncIterator[None]:
    """Write down how and when sites are deployed, for the audit."""
    facts = {"apart": can_part(), "flwr": version("flwr"), "began": time.time(), "ended": None}
    write_whole(place.evidence / "session.json", json.dumps(facts) + "\n")
    try:
        yield
    finally:
        write_whole(place.evidence / "session.json", json.dumps({**facts, "ended": time.time()}) + "\n")


@asynccontextmanager
async def _superlink(place: Place) -> AsyncIterator[asyncio.subprocess.Process]:
    host, port = place.superlink
    options = ["--insecure", "--disable-runtime-dependency-installation", "--host", host, "--port", str(port)]
    async with _process("superlink", ["flower-superlink", *options], place) as (process, _):
        await _answering(place)
        yield process


@asynccontextmanager
async def _site(home: Home, place: Place) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a site's SuperNode in an enclosure whose only door is a relay to the SuperLink; return its process."""
    door_port, runtime_port = _free_port(), _free_port()
    who = f'site="{home.site}" home="{home.root.resolve()}"'
    options = ["--insecure", "--superlink", f"{LOCALHOST}:{door_port}", "--node-config", who]
    own = ["--host", LOCALHOST, "--port", str(runtime_port)]
    relay = Relay(place.evidence / home.site, place.superlink)
    async with AsyncExitStack() as serving:
        command = ["flower-supernode", *options, *own]
        async with _process(_log_of(home.site), command, place, door=door_port) as (node, line):
            server = await relay.serve(await _door(line, home.site, place))
            serving.callback(server.close)
            yield node
        await relay.finished(GRACE_SECONDS)


@asynccontextmanager
async def _process(
    name: str, command: Sequence[str], place: Place, *, door: int | None = None
) -> AsyncIterator[tuple[asyncio.subprocess.Process, socket.socket]]:
    """Run a command in an enclosure, which ends with the context; return its process and the line to it."""
    ours, theirs = socket.socketpair()
    with ours, (place.evidence / f"{name}.log").open("wb") as log:
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *enclosed([_found(command[0]), *command[1:]], theirs.fileno(), door=door),
                pass_fds=[theirs.fileno()],
                env=place.environment(name),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process, ours
        finally:
            ours.close()
            try:
                await asyncio.wait_for(process.wait(), 2 * GRACE_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _door(line: socket.socket, name: str, place: Place) -> socket.socket:
    """Take the listening socket that an enclosure sends."""
    line.settimeout(START_SECONDS)
    try:
        _, found, _, _ = await asyncio.to_thread(socket.recv_fds, line, 16, 1)
    except TimeoutError:
        found = []
    if not found:
        raise WardroundError(f"the SuperNode of site '{name}' did not start; see {place.evidence}/{_log_of(name)}.log")
    return socket.socket(fileno=found[0])


async def _answering(place: Place) -> None:
    """Wait until the SuperLink takes connections."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError):
            _, writer = await asyncio.open_connection(*place.superlink)
            writer.close()
            return
        await asyncio.sleep(0.2)
    raise WardroundError(f"the SuperLink did not start; see {place.evidence / 'superlink.log'}")


async def _run(
    store: Store, place: Place, progress: Progress, parts: Mapping[str, asyncio.subprocess.Process], site_app: str
) -> None:
    """Hand the apps to the SuperLink, and wait for the end of the run. Raises `WardroundError` where a part ends."""
    app, home = place.scratch / "app", Path(place.environment("run")["FLWR_HOME"])
    write_whole(app / "pyproject.toml", PROJECT)
    write_whole(app / "apps.py", _apps(site_app))
    write_whole(home / "config.toml", f'[superlink.wire]\naddress = "{place.address}"\ninsecure = true\n')
    told = ["run", str(app), "wire", "--stream", "-c", f'run-dir="{store.root.resolve()}"']
    events = list(events_of(schedule := store.schedule(), schedule.new_server()))
    shown = len(store.times())
    progress.begin(sum(len(event.sites) for event in events), sum(len(event.sites) for event in events[:shown]))
    async with _process("run", ["flwr", *told], place) as (process, _):
        progress.doing("running")
        while process.returncode is None:
            await asyncio.sleep(LOOK_SECONDS)
            for name in [name for name, part in parts.items() if part.returncode is not None]:
                raise WardroundError(f"a part of the deployment ended; see {place.evidence}/{name}.log")
            for row in store.times()[shown:]:
                shown += 1
                progress.advance(len(row["sites"]))


def _apps(site_app: str) -> str:
    """Return the module of the apps: where to find them, no more, so that each end runs what is installed there."""
    return (
        '"""The two apps of wardround, as they are installed where this runs."""\n\n'
        "from simulator.flower.server_app import app as server\n"
        f"from {site_app} import app as site\n\n"
        '__all__ = ["server", "site"]\n'
    )


def _log_of(site: str) -> str:
    return f"site-{site}"


def _found(command: str) -> str:
    path = shutil.which(command, path=os.pathsep.join([str(BIN), os.environ.get("PATH", "")]))
    if path is None:
        raise WardroundError(f"the command {command} is not there; install flwr beside wardround")
    return path


def _free_port() -> int:
    with socket.socket() as free:
        free.bind((LOCALHOST, 0))
        return int(free.getsockname()[1])
