"""Reads back what crossed a site's door: HTTP messages with their exact sizes, and the objects that Flower moves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import h11

BLOCK = 1 << 16

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, kw_only=True)
class HttpMessage:
    """A request or a response. `size` is what it took on the wire; headers have their names as they were written."""

    target: str
    status: int
    headers: Headers
    body: bytes
    size: int

    @property
    def head(self) -> int:
        """Bytes of the head when it is written plainly, with nothing between or behind what it says."""
        line = f"POST {self.target} HTTP/1.1\r\n" if self.target else f"HTTP/1.1 {self.status} OK\r\n"
        return len(line) + sum(len(name) + len(value) + 4 for name, value in self.headers) + 2


def http_messages(path: Path, *, requests: bool) -> Iterator[HttpMessage]:
    """Yield the messages of one direction of a connection, up to the first byte that is no HTTP or is cut short."""
    if not path.exists():
        return
    with path.open("rb") as stream:
        rest = b""
        while rest := rest or stream.read(BLOCK):
            message, rest = _next(stream, rest, requests=requests)
            if message is None:
                return
            yield message


def _next(stream: BinaryIO, begun: bytes, *, requests: bool) -> tuple[HttpMessage | None, bytes]:
    """Read one message that begins with some bytes; return it, with the bytes that were read beyond it."""
    parser, taken, body = _parser(requests=requests), len(begun), bytearray()
    head: h11.Request | h11.Response | None = None
    parser.receive_data(begun)
    try:
        while not isinstance(event := parser.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                if not (more := stream.read(BLOCK)):
                    return None, b""
                taken += len(more)
                parser.receive_data(more)
            elif isinstance(event, h11.Request | h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                return None, b""
    except h11.RemoteProtocolError:
        return None, b""
    assert head is not None
    rest = parser.trailing_data[0]
    message = HttpMessage(
        target=head.target.decode("ascii") if isinstance(head, h11.Request) and head.method == b"POST" else "",
        status=head.status_code if isinstance(head, h11.Response) else 0,
        headers=tuple(head.headers.raw_items()),
        body=bytes(body),
        size=taken - len(rest),
    )
    return message, rest


def _parser(*, requests: bool) -> h11.Connection:
    """Return a parser for one message; one of a response is told of a request before."""
    if requests:
        return h11.Connection(h11.SERVER)
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method="POST", target="/", headers=[("Host", "relay"), ("Content-Length", "0")]))
    parser.send(h11.EndOfMessage())
    return parser


class Objects:
    """Flower's objects by their id, which is the SHA-256 of their content; kept on disk, since they may be many."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, content: bytes) -> str:
        """Keep an object, and return its id."""
        name = hashlib.sha256(content).hexdigest()
        path = self._folder / name
        if not path.exists():
            path.write_bytes(content)
        return name

    def __contains__(self, name: str) -> bool:
        return len(name) == 64 and (self._folder / name).exists()

    def __getitem__(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()
