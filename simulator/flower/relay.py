"""The one door of a site that runs apart: passes on what crosses it, and keeps every byte for the audit."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import struct
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

BLOCK = 1 << 16
TCP_INFO_SIZE = 136  # up to `tcpi_bytes_received` of Linux's struct tcp_info, its last eight bytes


@dataclass(frozen=True, kw_only=True)
class Connection:
    """A connection that a site opened: bytes up from it and down to it.

    kernel_up: what the kernel counted up from the site, a closing's FIN as one byte (None: it does not say)
    opened, closed: seconds since the epoch
    """

    number: int
    up: int
    down: int
    kernel_up: int | None
    opened: float
    closed: float


class Relay:
    """Carries a site's connections to the SuperLink; `N.up` and `N.down` in its folder hold what crossed the N-th.

    `connections.jsonl` has a row for each, when it is over.
    """

    def __init__(self, folder: Path, superlink: tuple[str, int]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._superlink = superlink
        self._numbers = itertools.count(1)
        self._open: set[asyncio.Task[None]] = set()

    async def serve(self, door: socket.socket) -> asyncio.Server:
        """Answer at a listening socket, in whatever network namespace it was made."""
        return await asyncio.start_server(self._answer, sock=door)

    async def finished(self, seconds: float) -> None:
        """Wait until all connections are over; those that aren't in time are cut."""
        if self._open:
            _, late = await asyncio.wait(self._open, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._carry(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _carry(self, site_reader: asyncio.StreamReader, site_writer: asyncio.StreamWriter) -> None:
        number, opened = next(self._numbers), time.time()
        paths = [self._folder / f"{number}.{way}" for way in ("up", "down")]
        writers = [site_writer]
        with paths[0].open("wb") as up, paths[1].open("wb") as down:
            try:
                with suppress(OSError):
                    reader, writer = await asyncio.open_connection(*self._superlink)
                    writers.append(writer)
                    await asyncio.gather(_pump(site_reader, writer, up), _pump(reader, site_writer, down))
            finally:
                kernel_up = _received(site_writer)
                for one in writers:
                    one.close()
                self._note(
                    Connection(
                        number=number,
                        up=up.tell(),
                        down=down.tell(),
                        kernel_up=kernel_up,
                        opened=opened,
                        closed=time.time(),
                    )
                )

    def _note(self, connection: Connection) -> None:
        with (self._folder / "connections.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(connection)) + "\n")


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, kept: BinaryIO) -> None:
    """Pass bytes on until there are no more. What came is kept before it is passed on, and where it can't be."""
    while data := await _read(source):
        kept.write(data)
        with suppress(OSError):
            sink.write(data)
            await sink.drain()
    with suppress(OSError):
        sink.write_eof()


async def _read(source: asyncio.StreamReader) -> bytes:
    """Return what comes next; a connection that breaks is at its end."""
    try:
        return await source.read(BLOCK)
    except OSError:
        return b""


def _received(writer: asyncio.StreamWriter) -> int | None:
    """Return the kernel's own count of the bytes that came over a connection."""
    if not hasattr(socket, "TCP_INFO"):
        return None
    try:
        info = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_SIZE)
    except OSError:
        return None
    return int(struct.unpack("=Q", info[-8:])[0]) if len(info) == TCP_INFO_SIZE else None
