"""Tells one folder of data from another, wherever it lies, so that a trial is not taken for done on other data."""

from __future__ import annotations

import hashlib
from pathlib import Path

# Tables and the like are small and may change without changing their size.
SMALL = 65_536


def fingerprint(root: Path) -> str:
    """Return a SHA-256 (hex) over the names and sizes of all files under a path, and what the small ones hold.

    Images are not read: one that is changed and keeps its size goes unseen. Hidden files don't count.
    """
    digest = hashlib.sha256()
    files = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
    for path in files:
        name = path.relative_to(root)
        if any(part.startswith(".") for part in name.parts):
            continue
        size = path.stat().st_size
        digest.update(f"{name.as_posix()}\n{size}\n".encode())
        if size <= SMALL:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
