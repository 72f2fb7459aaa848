"""The relay passes on what it gets and keeps every byte, and a site that is enclosed has no other way out."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator.flower.enclosure import can_part, enclosed
from simulator.flower.relay import Relay

LONG = bytes(range(256)) * 4000
# Connects to the port that it is told, and says which errors it meets; the last one is the door.
CALLER = """
import socket, sys
for port in map(int, sys.argv[1:]):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as line:
            line.sendall(b"hello")
            line.shutdown(socket.SHUT_WR)
            print(port, line.recv(100).decode(), flush=True)
    except OSError as error:
        print(port, type(error).__name__, flush=True)
"""


async def upper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer all that comes in capitals, once it has ended."""
    writer.write((await reader.read()).upper())
    writer.write_eof()
    await writer.drain()
    writer.close()


async def relayed(folder: Path, sent: bytes) -> bytes:
    server = await asyncio.start_server(upper, "127.0.0.1", 0)
    relay = Relay(folder, server.sockets[0].getsockname())
    door = socket.create_server(("127.0.0.1", 0))
    address = door.getsockname()
    async with server, await relay.serve(door):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(sent)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        await relay.finished(5)
    return answer


def test_all_that_crosses_is_passed_on_and_kept(tmp_path: Path) -> None:
    assert asyncio.run(relayed(tmp_path, LONG)) == LONG.upper()
    assert (tmp_path / "1.up").read_bytes() == LONG
    assert (tmp_path / "1.down").read_bytes() == LONG.upper()
    row = json.loads((tmp_path / "connections.jsonl").read_text())
    assert (row["number"], row["up"], row["down"]) == (1, len(LONG), len(LONG))
    if sys.platform == "linux":
        assert row["kernel_up"] == len(LONG) + 1  # and the FIN


async def abandoned(folder: Path) -> None:
    nobody = socket.create_server(("127.0.0.1", 0))
    relay = Relay(folder, nobody.getsockname())
    door = socket.create_server(("127.0.0.1", 0))
    address = door.getsockname()
    async with await relay.serve(door):
        _, writer = await asyncio.open_connection(*address)
        writer.write(b"x" * 1000)
        await writer.drain()
        await asyncio.sleep(0.2)
        await relay.finished(0.1)
        writer.close()
    nobody.close()


def test_a_connection_that_hangs_is_cut_and_noted(tmp_path: Path) -> None:
    asyncio.run(abandoned(tmp_path))
    assert (tmp_path / "1.up").read_bytes() == b"x" * 1000
    assert json.loads((tmp_path / "connections.jsonl").read_text())["up"] == 1000


@pytest.fixture
def outside() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.mark.skipif(not can_part(), reason="this machine does not let us make network namespaces")
def test_an_enclosure_has_one_door_and_no_other_way_out(outside: socket.socket) -> None:
    ours, theirs = socket.socketpair()
    port, beyond = free_port(), outside.getsockname()[1]
    command = [sys.executable, "-c", CALLER, str(beyond), str(port)]
    with (
        ours,
        subprocess.Popen(
            enclosed(command, theirs.fileno(), door=port),
            pass_fds=[theirs.fileno()],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        theirs.close()
        _, (number,), _, _ = socket.recv_fds(ours, 16, 1)
        with socket.socket(fileno=number) as door, door.accept()[0] as line:
            assert line.recv(100) == b"hello"
            line.sendall(b"welcome")
        assert process.stdout is not None
        assert process.stdout.read().splitlines() == [f"{beyond} ConnectionRefusedError", f"{port} welcome"]
        assert process.wait(20) == 0


@pytest.mark.parametrize("apart", [True, False])
def test_all_that_ran_in_an_enclosure_ends_with_the_line(apart: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if apart and not can_part():
        pytest.skip("this machine does not let us make namespaces")
    if not apart:
        monkeypatch.setattr("simulator.flower.enclosure.can_part", lambda: False)
    mark = f"73.{time.monotonic_ns() % 1_000_000}"
    ours, theirs = socket.socketpair()
    with subprocess.Popen(
        enclosed(["sh", "-c", f"sleep {mark} & sleep {mark}"], theirs.fileno()),
        pass_fds=[theirs.fileno()],
        start_new_session=True,
    ) as process:
        theirs.close()
        wait_until(lambda: len(running(mark)) >= 2)
        ours.close()
        process.wait(20)
    wait_until(lambda: not running(mark))


def running(mark: str) -> list[str]:
    """Return the processes that sleep for a time of which there is only one."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue
        if command == f"sleep\0{mark}\0".encode():
            found.append(path.parent.name)
    return found


def wait_until(holds: object, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
