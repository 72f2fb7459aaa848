"""TARGET: the server makes images from the segmenter's weights alone, and a later site is held to what it said of them.

Zhang et al., "TARGET: Federated Class-Continual Learning via Exemplar-Free Distillation", ICCV 2023, arXiv 2303.06937,
after its abstract and the authors' code (zj-jayzhang/Federated-Class-Continual-Learning). When a site is done, a
generator that sees no data is trained at the server against the segmenter (`common/synthesis.py`); its images x'
go to the site that comes next, which trains on

    L(theta) = L(x, y) + distillation * L_distil(f_theta(x'), f_old(x'))

with f_old the segmenter that they were made from, and the distillation of LwF. Nothing but the segmenter leaves a
site: of images, only such as the server made. MFCL (Babakniya et al., NeurIPS 2023) sends the generator in their place.

Ours: half of a batch is real and half made, in one pass, so that running statistics fit both; sites learn one after
another, so there is nothing to average.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from sites.errors import ConfigError
from sites.seeds import seed_of
from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Kind, Payload, Weights
from strategies import State, Strategy
from strategies.common.alignment import Batch, Domain
from strategies.common.distillation import distillation
from strategies.common.rehearsal import train_rehearsing
from strategies.common.segmenter import blank_segmenter, build_segmenter
from strategies.common.sequence import SequentialServer
from strategies.common.state import part_of
from strategies.common.synthesis import SynthesisConfig, blank_images, synthesise
from strategies.common.turns import Turns
from strategies.setting import Setting


class Config(SynthesisConfig):
    """Settings of TARGET: those of the images (`images: 0` is fine-tuning), and how firmly a site is held to them.

    distillation: the weight of what the old segmenter says of the images
    """

    distillation: float = Field(default=10.0, ge=0)


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: the segmenter, the one before it, and images made from that (none at first).

    images: float32 [images, channels, height, width] in 0..1; made: uint8 [1], whether they were
    """

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    old: Annotated[Weights, Kind.SEGMENTER]
    images: Annotated[Tensor, Kind.IMAGE]
    made: Annotated[Tensor, Kind.COUNT]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: the segmenter, trained on."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]


class TargetServer(SequentialServer[Broadcast, Upload]):
    """Passes the segmenter from one site to the next, and makes images from it."""

    def __init__(self, config: Config, setting: Setting) -> None:
        self._config = config
        self._setting = setting
        self._segmenter, self._old = build_segmenter(setting), build_segmenter(setting)
        self._turns = Turns(setting)
        self._done = 0
        self._made: tuple[int, Tensor] = (0, blank_images(config, setting.shape, "cpu"))

    def broadcast(self, site: str, step: int) -> Broadcast:
        return Broadcast(
            segmenter=self._segmenter.state_dict(),
            old=self._old.state_dict(),
            images=self._images(),
            made=torch.tensor([self._done > 0], dtype=torch.uint8),
        )

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        for site, upload in uploads.items():
            self._segmenter.load_state_dict(dict(upload.segmenter))
            if self._turns.take(site):
                self._old.load_state_dict(dict(upload.segmenter))
                self._done += 1

    def predictor(self, site: str) -> nn.Module:
        return self._segmenter

    def state_dict(self) -> State:
        return {
            **self._segmenter.state_dict(prefix="segmenter/"),
            **self._old.state_dict(prefix="old/"),
            **self._turns.state_dict(),
            "done": torch.tensor(self._done),
        }

    def load_state_dict(self, state: State) -> None:
        for prefix, network in (("segmenter/", self._segmenter), ("old/", self._old)):
            network.load_state_dict(part_of(state, prefix))
        self._turns.load_state_dict(state)
        self._done = int(state["done"])
        self._made = (0, self._made[1])

    def _images(self) -> Tensor:
        """Return images made from the old segmenter: once for each, and only when a site is there to have them."""
        if self._config.images and self._made[0] != self._done:
            seed = seed_of(self._setting.seed, "target", self._done)
            self._made = (self._done, synthesise(self._config, self._setting, self._old.state_dict(), seed))
        return self._made[1]


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the segmenter on the current cases, and on what the old one says of the images made from it."""
    old = build_segmenter(setting).eval()
    old.load_state_dict(dict(down.old))

    def held(logits: Tensor, images: Batch) -> Tensor:
        with torch.no_grad():
            said = old(images.images)
        return config.distillation * distillation(logits, said, config.temperature)

    unlabelled = torch.zeros(len(down.images), len(setting.shape.structures), *down.images.shape[2:])
    past = [Domain(down.images, unlabelled)] if down.made and config.images else []
    return Upload(segmenter=train_rehearsing(down.segmenter, setting, arrival, past, held))


def blank_broadcast(config: Config, setting: Setting) -> Broadcast:
    """Return a broadcast without values."""
    return Broadcast(
        segmenter=blank_segmenter(setting),
        old=blank_segmenter(setting),
        images=blank_images(config, setting.shape),
        made=torch.zeros(1, dtype=torch.uint8, device="meta"),
    )


def blank_upload(config: Config, setting: Setting, first: bool) -> Upload:
    """Return an upload without values. Raises `ConfigError` where the segmenter has no statistics to make images by."""
    if config.images and setting.network.norm != "batch":
        raise ConfigError("strategy 'target' makes images from running statistics: set network.norm to 'batch'")
    return Upload(segmenter=blank_segmenter(setting))


STRATEGY = Strategy(
    family="replay",
    config=Config,
    server=TargetServer,
    learn=learn,
    blank_broadcast=blank_broadcast,
    blank_upload=blank_upload,
)
