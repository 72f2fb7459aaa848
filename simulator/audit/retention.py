"""What a site still holds: the groups of its vault, the version before, and files that nobody accounts for."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open

from simulator.audit.model import Kept
from sites.errors import UserError
from sites.vault import versions_in

OWN = (
    *("policy.yaml", "secret", "ledger.jsonl", "seal.json", "site.log"),
    *("schedule.sha256", "newest-step", "lock", "vault"),
)


def kept_in(vault: Path) -> tuple[tuple[Kept, ...], int]:
    """Return the groups of a vault's newest version, and the bytes of the version before it."""
    versions = versions_in(vault)
    newest = tuple(map(_group, sorted(versions[-1].iterdir()))) if versions else ()
    return newest, sum(path.stat().st_size for version in versions[:-1] for path in version.iterdir())


def _group(path: Path) -> Kept:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = len(file.keys())
    except SafetensorError as error:
        raise UserError(f"{path}: is no group of a vault") from error
    return Kept(group=path.stem, tensors=tensors, bytes=path.stat().st_size)


def strange_in(home: Path) -> tuple[str, ...]:
    """Return the files and folders in a site's folder that the software did not make."""
    return tuple(sorted(path.name for path in home.iterdir() if path.name not in OWN))
