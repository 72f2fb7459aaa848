"""DDDR: a frozen diffusion model is shared by all, and a site releases the embedding under which it makes its pairs.

Liang et al., "Diffusion-Driven Data Replay: A Novel Approach to Combat Forgetting in Federated Class Continual
Learning", ECCV 2024, arXiv 2409.01128, after its abstract and the authors' code (jinglin-liang/DDDR). Each site inverts
its data: the generator stays as it is, and its token alone is sought (as in textual inversion, Gal et al., ICLR 2023).
Every later site makes replays x' of the earlier ones, with their labels y', and trains the segmenter on

    L(theta) = L(x, y) + labels * L(x', y') + distillation * L_distil(f_theta(x'), f_old(x'))

with f_old the segmenter as the last step left it, and the distillation of LwF.

Ours: a site stands in the place of a class. The generator makes image and mask together; it is the backbone that ships
with the project, learnt on pictures of no site, where the paper has a text-to-image model. Sites learn one after
another, so there are no embeddings of one class to average. The paper's contrastive term, which draws real and made
images of a class together, needs a classifier's features, and is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from sites.seeds import seed_of
from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Kind, Payload, Weights
from strategies import ImageMaker, State, Strategy, StrategyConfig
from strategies.common.alignment import Batch, Domain
from strategies.common.denoising import sample
from strategies.common.diffusion import DiffusionConfig, Generator, build_generator
from strategies.common.distillation import distillation
from strategies.common.modulation import in_table, learnt_rows, rows_of
from strategies.common.rehearsal import by_its_masks, train_rehearsing
from strategies.common.retention import fit, put, take
from strategies.common.segmenter import blank_segmenter, build_segmenter, slices_of
from strategies.common.sequence import SequentialServer
from strategies.common.state import part_of
from strategies.common.turns import Turns
from strategies.setting import Setting


class Config(StrategyConfig):
    """Settings of DDDR.

    replays: pairs that a site makes of all earlier ones together (0: fine-tuning, and no embedding leaves)
    steps, batch, learning_rate: of the search for an embedding, for one arrival
    sampling_steps: network calls for one replay (for its mask, and again for its image)
    labels, distillation: weights of the two losses on replays; temperature: that of the distillation
    """

    replays: int = Field(default=192, ge=0)
    steps: int = Field(default=500, ge=1)
    batch: int = Field(default=16, ge=2)
    learning_rate: float = Field(default=1e-2, gt=0)
    sampling_steps: int = Field(default=12, ge=2)
    labels: float = Field(default=0.5, ge=0)
    distillation: float = Field(default=10.0, ge=0)
    temperature: float = Field(default=2.0, gt=0)


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: segmenter, the one that the last step left, every embedding, and who has one."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    old: Annotated[Weights, Kind.SEGMENTER]
    embeddings: Annotated[Weights, Kind.PROMPT]
    learnt: Annotated[Tensor, Kind.COUNT]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: the segmenter, trained on, and the embedding."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    embedding: Annotated[Weights, Kind.PROMPT]


class DddrServer(SequentialServer[Broadcast, Upload]):
    """Passes the segmenter from one site to the next, and keeps every site's embedding."""

    def __init__(self, config: Config, setting: Setting) -> None:
        self._config = config
        self._setting = setting
        self._segmenter, self._old = build_segmenter(setting), build_segmenter(setting)
        self._embeddings: dict[str, State] = {}
        self._turns = Turns(setting)

    def broadcast(self, site: str, step: int) -> Broadcast:
        sites, none = self._setting.sites, _zeros(self._config, self._setting)
        return Broadcast(
            segmenter=self._segmenter.state_dict(),
            old=self._old.state_dict(),
            embeddings=in_table({one: self._embeddings.get(one, none) for one in sites}),
            learnt=torch.tensor([one in self._embeddings for one in sites], dtype=torch.uint8),
        )

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        for site, upload in uploads.items():
            self._segmenter.load_state_dict(dict(upload.segmenter))
            if upload.embedding:
                self._embeddings[site] = dict(upload.embedding)
            if self._turns.take(site):
                self._old.load_state_dict(dict(upload.segmenter))

    def replays(self, count: int) -> Mapping[str, tuple[Tensor, Tensor]]:
        seed = self._setting.seed
        return {site: sample(own, count, seed_of(seed, "replay", site)) for site, own in self.generators().items()}

    def generators(self) -> Mapping[str, Generator]:
        return {
            site: put(frozen_generator(self._config, self._setting), self._embeddings[site])
            for site in self._setting.sites
            if site in self._embeddings
        }

    def predictor(self, site: str) -> nn.Module:
        return self._segmenter

    def state_dict(self) -> State:
        return {
            **self._segmenter.state_dict(prefix="segmenter/"),
            **self._old.state_dict(prefix="old/"),
            **{f"embedding/{key}": value for key, value in in_table(self._embeddings).items()},
            **self._turns.state_dict(),
        }

    def load_state_dict(self, state: State) -> None:
        self._segmenter.load_state_dict(part_of(state, "segmenter/"))
        self._old.load_state_dict(part_of(state, "old/"))
        self._embeddings = rows_of(part_of(state, "embedding/"))
        self._turns.load_state_dict(state)


def frozen_generator(config: Config, setting: Setting) -> Generator:
    """Build the generator that every site has: the backbone that ships with the project."""
    form = DiffusionConfig(
        steps=config.steps,
        batch=config.batch,
        learning_rate=config.learning_rate,
        sampling_steps=config.sampling_steps,
    )
    return build_generator(form, setting.shape, seed=0)


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the segmenter on the current cases and on replays of the earlier sites; then seek the site's embedding."""
    known = learnt_rows(down.embeddings, down.learnt, setting)
    others = {site: embedding for site, embedding in known.items() if site != arrival.site}
    generator = frozen_generator(config, setting)
    count = -(-config.replays // max(1, len(others)))
    past = [
        Domain(*sample(put(generator, embedding), count, seed_of(arrival.seed, "replay", site)))
        for site, embedding in others.items()
    ]
    old = build_segmenter(setting)
    old.load_state_dict(dict(down.old))
    old.eval()

    def held(logits: Tensor, replays: Batch) -> Tensor:
        with torch.no_grad():
            said = old(replays.images)
        taught = config.distillation * distillation(logits, said, config.temperature)
        return taught + config.labels * by_its_masks(logits, replays)

    segmenter = train_rehearsing(down.segmenter, setting, arrival, past, held)
    if not config.replays:
        return Upload(segmenter=segmenter, embedding={})
    generator = put(frozen_generator(config, setting), known.get(arrival.site, {}))
    steps = setting.budget.a_round(config.steps)
    fit(generator, *slices_of(arrival.cases), steps=steps, seed=arrival.seed, trained=("token",))
    return Upload(segmenter=segmenter, embedding=take(generator, ("token",)))


def remake(config: Config, setting: Setting, down: Broadcast, up: Upload, site: str) -> ImageMaker | None:
    """Return what makes images as a receiver could of an upload."""
    if not up.embedding:
        return None
    generator = put(frozen_generator(config, setting), up.embedding)
    return lambda count, seed: sample(generator, count, seed)[0]


def blank_embedding(config: Config, setting: Setting) -> State:
    """Return an embedding without values: float32 [tokens, width]; none where nothing is replayed."""
    with torch.device("meta"):
        return {"token": frozen_generator(config, setting).token.detach()} if config.replays else {}


def _zeros(config: Config, setting: Setting) -> State:
    return {name: torch.zeros(value.shape) for name, value in blank_embedding(config, setting).items()}


def blank_broadcast(config: Config, setting: Setting) -> Broadcast:
    """Return a broadcast without values."""
    embedding = blank_embedding(config, setting)
    return Broadcast(
        segmenter=blank_segmenter(setting),
        old=blank_segmenter(setting),
        embeddings=in_table(dict.fromkeys(setting.sites, embedding)),
        learnt=torch.zeros(len(setting.sites), dtype=torch.uint8, device="meta"),
    )


def blank_upload(config: Config, setting: Setting, first: bool) -> Upload:
    """Return an upload without values."""
    return Upload(segmenter=blank_segmenter(setting), embedding=blank_embedding(config, setting))


STRATEGY = Strategy(
    family="replay",
    config=Config,
    server=DddrServer,
    learn=learn,
    blank_broadcast=blank_broadcast,
    blank_upload=blank_upload,
    remake=remake,
)
