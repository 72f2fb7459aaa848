"""The command as a process of its own, as a user starts it, and what processes it leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# The installed script: an interrupt that meets Python amid an `exec` of a string, as an import often is, makes
# `python -m` end by SIGINT, whatever the exit code was to be.
COMMAND = (sys.executable, str(Path(sys.executable).with_name("wardround")))


def start(*arguments: object, mark: str, cwd: Path) -> subprocess.Popen[str]:
    """Start the command in a folder, as the first of its process group, with a mark in its environment.

    It finds modules in that folder, as those of a user who names it in PYTHONPATH.
    """
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        env={**os.environ, mark: "1", "PYTHONPATH": os.pathsep.join([str(ROOT), str(cwd)])},
        cwd=cwd,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_heed_interrupts,  # noqa: PLW1509 - it takes no lock
    )


def _heed_interrupts() -> None:
    """Undo what a shell does to the commands that it starts in the background, which then ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def processes_with(mark: str) -> list[int]:
    """Return the processes whose environment holds a mark."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found
