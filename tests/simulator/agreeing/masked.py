"""Schedules whose sites learn together, what their policies ask for, and what is read off a run of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from sites.ledger import Row, read_rows

Run = Callable[..., Path]
Tiny = Callable[..., Path]
Policy = Callable[..., str]

ADMIT = ["segmenter", "gradient", "count", "score", "key"]
MASKED = {"secure_aggregation": {"least": 3}}
SIMULATED = {**MASKED, "simulated_secret": "for a test"}
TOGETHER: dict[str, Any] = {"arrivals": [["A", "B", "C"]], "strategy": "fedavg"}
LONGER: dict[str, Any] = {
    "arrivals": [["A", "B", "C"], "D"],
    "stay": "forever",
    "strategy": "fedavg",
    "budget": {"iterations": 2, "rounds": 2, "batch": 3},
}


def released(run: Path, site: str, purpose: str = "learn") -> list[Row]:
    rows = read_rows(run / "sites" / site / "ledger.jsonl")
    return [row for row in rows if row["event"] == "release" and row["purpose"] == purpose]


def state(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoint.safetensors")
