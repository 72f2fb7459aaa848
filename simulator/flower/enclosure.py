"""Runs a program for as long as the process that asked for it lives; a site's has no network but one watched door."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from functools import cache

SIOCSIFFLAGS = 0x8914
UP_LOOPBACK_RUNNING = 0x49
APART = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
GRACE_SECONDS = 15.0


@cache
def can_part() -> bool:
    """Return whether this machine lets us give a program network and process namespaces of its own."""
    try:
        return subprocess.run([*APART, "--net", "true"], capture_output=True, check=False, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def enclosed(command: list[str], line: int, *, door: int | None = None) -> list[str]:
    """Return the command line that runs a command in an enclosure.

    line: file descriptor of a Unix socket; the command is ended when its other end is closed
    door: port on 127.0.0.1 at which the enclosure listens for the command: its socket is sent up the line
    Where the machine lets us, the command gets a process namespace, and with a door a network namespace in which there
    is nothing else.
    """
    here = [sys.executable, "-m", "simulator.flower.enclosure", str(line), str(door or 0), *command]
    if not can_part():
        return here
    return [*APART, *(["--net"] if door else []), *here]


def main(line: int, door: int, command: list[str]) -> int:
    """Run a command until it ends or the line is closed, and leave nothing of it behind; return its exit code."""
    with socket.socket(fileno=line) as asked_by:
        if door:
            _send_door(asked_by, door)
        child = subprocess.Popen(command)
        while child.poll() is None and not select.select([asked_by], [], [], 0.2)[0]:
            pass
        if child.poll() is None:
            child.terminate()
        try:
            return child.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            return 1
        finally:
            if not _apart():  # of a process namespace, the end of the first process ends all others
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                os.killpg(0, signal.SIGTERM)


def _send_door(line: socket.socket, port: int) -> None:
    """Listen on loopback here and give the listening socket away: who has it answers from the namespace outside."""
    if _apart():
        with socket.socket() as any_socket:
            fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh", b"lo", UP_LOOPBACK_RUNNING))
    with socket.create_server(("127.0.0.1", port)) as door:
        socket.send_fds(line, [b"door"], [door.fileno()])


def _apart() -> bool:
    return os.getpid() == 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
