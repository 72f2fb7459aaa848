"""Joint training on the pooled data of all sites so far: the reference that breaks the rule it is measured against.

Images and labels leave the sites, so only a policy that admits them (`reference-only`) lets it run. After every
step the network is trained from scratch, with the budget of one arrival for every arrival so far.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from sites.seeds import seed_of
from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Kind, Payload
from strategies import Server, State, Strategy, StrategyConfig
from strategies.common.segmenter import build_segmenter, slices_of, train_segmenter
from strategies.common.state import part_of
from strategies.setting import Setting


class Config(StrategyConfig):
    """Joint training has no settings of its own."""


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """Nothing comes down to a site."""


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """A site's training data: as many rows as the schedule's largest arrival may have, blank beyond those held.

    images: float32 [rows, channels, height, width]; masks: uint8 [rows, structures, height, width];
    held: int64 [1], the number of rows that are not blank
    """

    images: Annotated[Tensor, Kind.IMAGE]
    masks: Annotated[Tensor, Kind.LABEL]
    held: Annotated[Tensor, Kind.LABEL]


class JointServer(Server[Broadcast, Upload]):
    """Pools what the sites send, and trains on all of it."""

    def __init__(self, config: Config, setting: Setting) -> None:
        self._setting = setting
        self._segmenter = build_segmenter(setting)
        self._pool: list[tuple[Tensor, Tensor]] = []
        self._rounds = 0

    def broadcast(self, site: str, step: int) -> Broadcast:
        return Broadcast()

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        """Add the data in the first round of a step, and train in it; the later rounds bring nothing new."""
        self._rounds += 1
        if (self._rounds - 1) % self._setting.budget.rounds:
            return
        self._pool += [(up.images[: int(up.held)], up.masks[: int(up.held)]) for up in uploads.values()]
        images = torch.cat([images for images, _ in self._pool])
        masks = torch.cat([masks for _, masks in self._pool])
        budget = self._setting.budget
        self._segmenter = build_segmenter(self._setting)
        train_segmenter(
            self._segmenter,
            self._setting,
            images,
            masks,
            iterations=sum(budget.iterations_an_arrival(len(part)) for part, _ in self._pool),
            seed=seed_of(self._setting.seed, "joint", step),
        )

    def predictor(self, site: str) -> nn.Module:
        return self._segmenter

    def state_dict(self) -> State:
        pool = {
            f"pool/{row}/{what}": part[what == "masks"]
            for row, part in enumerate(self._pool)
            for what in ("images", "masks")
        }
        return {**self._segmenter.state_dict(prefix="segmenter/"), **pool, "rounds": torch.tensor(self._rounds)}

    def load_state_dict(self, state: State) -> None:
        self._segmenter.load_state_dict(part_of(state, "segmenter/"))
        count = sum(key.startswith("pool/") for key in state) // 2
        self._pool = [(state[f"pool/{row}/images"], state[f"pool/{row}/masks"]) for row in range(count)]
        self._rounds = int(state["rounds"])


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Send everything."""
    upload = blank_upload(setting, "cpu")
    images, masks = slices_of(arrival.cases)
    upload.images[: len(images)] = images
    upload.masks[: len(masks)] = masks
    upload.held[0] = len(images)
    return upload


def blank_upload(setting: Setting, device: str = "meta") -> Upload:
    """Return an upload that holds nothing."""
    shape = setting.shape
    rows = setting.most_cases * shape.slices
    return Upload(
        images=torch.zeros(rows, shape.channels, shape.height, shape.width, device=device),
        masks=torch.zeros(rows, len(shape.structures), shape.height, shape.width, dtype=torch.uint8, device=device),
        held=torch.zeros(1, dtype=torch.int64, device=device),
    )


STRATEGY = Strategy(
    family="bound",
    config=Config,
    server=JointServer,
    learn=learn,
    blank_broadcast=lambda config, setting: Broadcast(),
    blank_upload=lambda config, setting, first: blank_upload(setting),
)
