"""One site whose patients have a name that must not leave, and messages to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import BaseModel

from simulator.contract import Contract, Contracts, Purpose, Reply, Request
from simulator.schedule import Schedule, read_schedule
from simulator.site import Home, answer
from sites.errors import SourceError
from sites.ledger import read_rows
from sites.scoring import ScoreRequest
from sites.stream import Case, Shape, Turn
from sites.wire import Kind, pack
from strategies import finetune
from tests.simulator.site.careless import PATH

LEARN = Turn(step=1, round=1, serial=1)


class Pacs:
    """A source whose patients are called by a name that must not leave; it counts how often it was read."""

    shape = Shape(channels=1, height=8, width=8, slices=1, structures=("gland",))
    sites = ("A", "B")

    def __init__(self) -> None:
        self.reads = 0
        self.unreadable = False

    def train(self, site: str, first: int, count: int) -> tuple[Case, ...]:
        self.reads += 1
        if self.unreadable:
            raise SourceError(f"{PATH}: is not an image")
        image = torch.linspace(0, 1, 64).reshape(1, 1, 8, 8)
        patients = (f"{PATH}#{number}" for number in range(first, first + count))
        masks = (image > 0.5).to(torch.uint8)
        return tuple(Case(patient=name, images=image, masks=masks, spacing=(3.0, 1.0, 1.0)) for name in patients)

    def held_out(self, site: str, count: int) -> tuple[Case, ...]:
        return self.train(site, 100, count)


class NoSettings(BaseModel):
    """The source has none."""


class Site:
    """Site A of a small schedule, in a folder of its own, and messages to it."""

    def __init__(self, folder: Path, source: Pacs, does: str = "well", **keys: Any) -> None:
        self.source = source
        self.home = Home(site="A", root=folder / "sites" / "A")
        path = folder / f"{does}.yaml"
        settings = {
            "name": "leaks",
            "task": "prostate",
            "source": "pacs",
            "arrivals": ["A", "B", "A"],
            "cases": {"train": 2, "held_out": 2},
            "strategy": {"name": "tests.simulator.site.careless", "does": does},
            "network": {"widths": [4, 8], "residual_units": 0},
            "budget": {"iterations": 2, "batch": 2},
        }
        path.write_text(yaml.safe_dump({**settings, **keys}))
        self.schedule: Schedule = read_schedule(path)
        self.contracts = Contracts(self.schedule)

    def admit(self, *kinds: Kind, **policy: Any) -> None:
        self.home.root.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump({"admit": [str(kind) for kind in kinds], **policy})
        (self.home.root / "policy.yaml").write_text(text)

    def contract(self, purpose: Purpose) -> Contract:
        return self.contracts.of(purpose, LEARN)

    def request(self, purpose: Purpose = Purpose.LEARN, turn: Turn = LEARN, **changed: Any) -> Request:
        server = self.schedule.strategy.server(self.schedule.strategy_config, self.schedule.setting)
        segmenter = server.predictor("A").state_dict()
        down = {
            Purpose.LEARN: finetune.Broadcast(segmenter=segmenter),
            Purpose.SCORE: ScoreRequest(segmenter=segmenter),
        }[purpose]
        contract = self.contract(purpose)
        request = Request(
            purpose=purpose,
            turn=turn,
            schedule=self.schedule.as_json(),
            fingerprint=contract.fingerprint,
            body=pack(down, contract.down.manifest),
        )
        return replace(request, **changed)

    def answer(self, *args: Any, **changed: Any) -> Reply:
        return answer(self.request(*args, **changed), self.home)

    @property
    def log(self) -> str:
        return (self.home.root / "site.log").read_text(encoding="utf-8")

    @property
    def rows(self) -> list[dict[str, Any]]:
        return read_rows(self.home.root / "ledger.jsonl")

    @property
    def kept(self) -> dict[str, bytes]:
        """The bytes of every file in the vault."""
        root = self.home.root / "vault"
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
