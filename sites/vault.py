"""The site's private disk: whatever a strategy keeps between turns, and nothing leaves from here."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from sites.gate import Code, Refused


class Vault:
    """Named groups of tensors, as they stood before a turn, with what this turn keeps.

    A turn that fails or is killed leaves the vault as it was: what a turn keeps is a new version, moved into
    place whole. The version before it stays, so that a turn can be done again.
    """

    def __init__(self, root: Path, turn: int) -> None:
        self._root = root
        self._turn = turn
        self._kept: dict[str, dict[str, Tensor]] = {}
        self._dropped: set[str] = set()
        older = [version for version in _versions(root) if version < turn]
        self._base = root / _name(older[-1]) if older else None

    def keys(self) -> tuple[str, ...]:
        """Return the names of all groups held."""
        stored = {path.stem for path in self._base.glob("*.safetensors")} if self._base else set()
        return tuple(sorted((stored - self._dropped) | self._kept.keys()))

    def get(self, key: str) -> dict[str, Tensor] | None:
        """Return the tensors kept under a name, or None."""
        if key in self._kept:
            return {name: tensor.clone() for name, tensor in self._kept[key].items()}
        if key not in self.keys() or self._base is None:
            return None
        return dict(load_file(self._base / f"{key}.safetensors"))

    def keep(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors under a name, in place of what was there. Raises `ValueError` for a name that is no file's."""
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", key):
            raise ValueError(f"vault: '{key}' can't name a group; use letters, digits, '_', '.' and '-'")
        self._kept[key] = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}

    def drop(self, key: str) -> None:
        """Keep nothing more under a name."""
        self._kept.pop(key, None)
        self._dropped.add(key)

    def commit(self) -> None:
        """Write what this turn keeps as the newest version, and let go of all but the version before it."""
        for version in [version for version in _versions(self._root) if version >= self._turn]:
            shutil.rmtree(self._root / _name(version))
        if not (self._kept or self._dropped):
            return
        staging = self._root / "staging"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        for key in self.keys():
            if key in self._kept:
                save_file(self._kept[key], staging / f"{key}.safetensors")
            elif self._base is not None:
                os.link(self._base / f"{key}.safetensors", staging / f"{key}.safetensors")
        staging.rename(self._root / _name(self._turn))
        for version in _versions(self._root)[:-2]:
            shutil.rmtree(self._root / _name(version))


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold a site's private disk for one message; raise `Refused` (BUSY) where another message holds it."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Refused(Code.BUSY) from error
        yield


def versions_in(root: Path) -> tuple[Path, ...]:
    """Return the folders of a vault's versions, oldest first."""
    return tuple(root / _name(version) for version in _versions(root))


def _name(version: int) -> str:
    return f"turn-{version:06d}"


def _versions(root: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("turn-")) for path in root.glob("turn-*"))
