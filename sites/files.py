"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, content: str | bytes, *, private: bool = False) -> None:
    """Write a file under a temporary name in its own folder, then rename it into place.

    A private one can be read by its owner alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    staging.touch(mode=0o600 if private else 0o666)
    staging.write_bytes(content.encode() if isinstance(content, str) else content)
    staging.replace(path)
