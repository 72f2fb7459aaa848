"""Lets go of what a trial that is done needs no more, so that a large bench fits on a disk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Literal

from safetensors import safe_open

from sites.errors import UserError
from sites.files import write_whole
from sites.vault import versions_in

Keep = Literal["networks", "results"]
NETWORKS = ("predictors", "checkpoint.safetensors")
_NOTE = "networks-dropped.json"


def tidy(root: Path, keep: Keep) -> None:
    """Drop from the run folder of a trial that is done what is not to be kept; what is gone already does no harm.

    networks: only what a turn done again would start from goes; every command works on the trial as on a run
    results: segmenters and checkpoint go, too; scores, times, ledgers, receipts and the sites' vaults stay
    """
    for vault in root.glob("sites/*/vault"):
        for version in versions_in(vault)[:-1]:
            shutil.rmtree(version)
    if keep == "networks":
        return
    write_whole(root / _NOTE, json.dumps(segmenters_of(root)) + "\n")
    shutil.rmtree(root / NETWORKS[0], ignore_errors=True)
    (root / NETWORKS[1]).unlink(missing_ok=True)


def segmenters_of(root: Path) -> dict[str, str]:
    """Return which segmenter was each site's after the last step, by a number; sites with the same one share it."""
    if (root / _NOTE).exists():
        noted: dict[str, str] = json.loads((root / _NOTE).read_text(encoding="utf-8"))
        return noted
    newest = max((root / NETWORKS[0]).glob("step-*.safetensors"))
    with safe_open(newest, framework="pt") as file:
        found: dict[str, str] = json.loads(file.metadata()["sites"])
    return found


def demand_networks(root: Path) -> None:
    """Raise `UserError` for a trial whose networks were dropped."""
    if (root / _NOTE).exists():
        raise UserError(
            f"{root}: this trial's networks were dropped when it was done, for its suite says `keep: results`; "
            "run the suite with `keep: networks` into another folder"
        )
