"""Several domains to train on at once, for the methods of domain generalization that need them.

A schedule of arrivals seldom has two sites' data in one place. So, by the setting `domains`:

- `scanners`: within one site. Its images are shown as by a few made-up scanners, each with a contrast curve, a bias
  field, a blur and a noise level of its own; the first is the site's own. Only the segmenter leaves.
- `pooled`: at a server that is sent all images and labels, each site a domain, trained from scratch after every step as
  joint training is (made-up scanners stand in while there is one site alone). What the method can do with real domains;
  only a policy that admits images and labels (`reference-only`) lets it run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, Protocol, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from sites.seeds import seed_of
from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Kind, Payload, Weights
from strategies import Server, State, Strategy, StrategyConfig
from strategies.common.alignment import Batch, Domain
from strategies.common.augmentation import Augmenter
from strategies.common.segmenter import blank_segmenter, build_segmenter, slices_of
from strategies.common.state import part_of
from strategies.setting import Setting


class DomainsConfig(StrategyConfig):
    """Settings of every method that needs several domains. scanners: how many to make of one site."""

    domains: Literal["scanners", "pooled"] = "scanners"
    scanners: int = Field(default=4, ge=2)


C = TypeVar("C", bound=DomainsConfig)
C_contra = TypeVar("C_contra", bound=DomainsConfig, contravariant=True)


class Train(Protocol[C_contra]):
    """What a method is: trains a network in place on several domains for some iterations."""

    def __call__(
        self, config: C_contra, network: nn.Module, setting: Setting, batches: Iterator[list[Batch]], iterations: int
    ) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: the segmenter, or nothing where domains are pooled."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: the segmenter; or, where domains are pooled, its images and labels and no segmenter.

    `images` holds float32 "images" [rows, channels, height, width]; `labels` holds uint8 "masks" [rows, structures,
    height, width], and int64 "held" [1], the number of rows that are not blank.
    """

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    images: Annotated[Weights, Kind.IMAGE]
    labels: Annotated[Weights, Kind.LABEL]


def as_scanned(domain: Domain, count: int, seed: int) -> list[Domain]:
    """Show one domain as by `count` scanners, the first being its own; masks stay as they are."""
    generator = torch.Generator().manual_seed(seed)
    return [domain, *(Domain(_scan(domain.images, generator), domain.masks) for _ in range(count - 1))]


def _scan(images: Tensor, generator: torch.Generator) -> Tensor:
    """Show images [N, C, H, W] in 0..1 as one made-up scanner would: all with the same curve, field and blur."""
    curve, slope, noise, blur = (torch.rand(size, generator=generator) for size in (images.shape[1], 2, 1, 1))
    rows, columns = (torch.linspace(-1, 1, size) for size in images.shape[2:])
    field = torch.exp((slope[0] - 0.5) * rows[:, None] + (slope[1] - 0.5) * columns)
    scanned = images ** (4 ** (curve - 0.5)).view(1, -1, 1, 1) * field
    scanned = torch.lerp(scanned, avg_pool2d(scanned, 3, stride=1, padding=1, count_include_pad=False), blur)
    return (scanned + 0.05 * noise * torch.randn(images.shape, generator=generator)).clamp(0, 1)


def drawn(setting: Setting, domains: Sequence[Domain], iterations: int, seed: int) -> Iterator[list[Batch]]:
    """Yield `iterations` lists of one augmented batch from each domain, together as many slices as one batch has."""
    generator, augmenter = torch.Generator().manual_seed(seed), Augmenter(setting.augmentation, seed)
    share = max(1, setting.budget.batch // len(domains))
    for _ in range(iterations):
        yield [domain.draw(share, generator, augmenter) for domain in domains]


class DomainServer(Server[Broadcast, Upload]):
    """Passes the segmenter from one site to the next; or pools what the sites send, and trains on all of it."""

    def __init__(self, train: Train[C], config: C, setting: Setting) -> None:
        self._fit: Callable[..., None] = partial(train, config)
        self._config = config
        self._setting = setting
        self._segmenter = build_segmenter(setting)
        self._pool: dict[str, Domain] = {}
        self._arrivals: list[int] = []
        self._turns = 0

    def rota(self, arriving: tuple[str, ...], online: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Sites that arrive in one step learn one after another, or send their data together."""
        return (arriving,) if self._config.domains == "pooled" else tuple((site,) for site in arriving)

    def broadcast(self, site: str, step: int) -> Broadcast:
        return Broadcast(segmenter={} if self._config.domains == "pooled" else self._segmenter.state_dict())

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        """Take the segmenter; pooled: add the data in the first round of a step, for later ones bring nothing new."""
        if self._config.domains == "scanners":
            for upload in uploads.values():
                self._segmenter.load_state_dict(dict(upload.segmenter))
            return
        self._turns += 1
        if (self._turns - 1) % self._setting.budget.rounds == 0:
            for site, upload in uploads.items():
                self._add(site, upload)
            self._train(step)

    def _add(self, site: str, upload: Upload) -> None:
        held = int(upload.labels["held"])
        images, masks = upload.images["images"][:held], upload.labels["masks"][:held]
        before = self._pool.get(site, Domain(images[:0], masks[:0]))
        self._pool[site] = Domain(torch.cat([before.images, images]), torch.cat([before.masks, masks]))
        self._arrivals.append(held)

    def _train(self, step: int) -> None:
        setting, domains = self._setting, list(self._pool.values())
        seed = seed_of(setting.seed, "pooled", step)
        if len(domains) == 1:
            domains = as_scanned(domains[0], self._config.scanners, seed)
        iterations = sum(setting.budget.iterations_an_arrival(rows) for rows in self._arrivals)
        self._segmenter = build_segmenter(setting)
        self._segmenter.train()
        self._fit(self._segmenter, setting, drawn(setting, domains, iterations, seed), iterations)

    def predictor(self, site: str) -> nn.Module:
        return self._segmenter

    def state_dict(self) -> State:
        pool = {f"pool/{site}/images": domain.images for site, domain in self._pool.items()}
        pool |= {f"pool/{site}/masks": domain.masks for site, domain in self._pool.items()}
        counts = {"turns": torch.tensor(self._turns), "arrivals": torch.tensor(self._arrivals, dtype=torch.int64)}
        return {**self._segmenter.state_dict(prefix="segmenter/"), **pool, **counts}

    def load_state_dict(self, state: State) -> None:
        self._segmenter.load_state_dict(part_of(state, "segmenter/"))
        sites = [site for site in self._setting.sites if f"pool/{site}/images" in state]
        self._pool = {site: Domain(state[f"pool/{site}/images"], state[f"pool/{site}/masks"]) for site in sites}
        self._turns, self._arrivals = int(state["turns"]), state["arrivals"].tolist()


def learn(config: C, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault, *, train: Train[C]) -> Upload:
    """Train the segmenter on the site's images as shown by several scanners; or send everything."""
    images, masks = slices_of(arrival.cases)
    if config.domains == "pooled":
        upload = blank_upload(config, setting, False, device="cpu")
        upload.images["images"][: len(images)] = images
        upload.labels["masks"][: len(masks)] = masks
        upload.labels["held"][0] = len(images)
        return upload
    network = build_segmenter(setting)
    network.load_state_dict(dict(down.segmenter))
    network.train()
    scanners = seed_of(setting.seed, "scanners", arrival.site, arrival.step)
    domains = as_scanned(Domain(images, masks), config.scanners, scanners)
    iterations = setting.budget.iterations_a_round(len(images))
    train(config, network, setting, drawn(setting, domains, iterations, arrival.seed), iterations)
    return Upload(segmenter=dict(network.state_dict()), images={}, labels={})


def blank_broadcast(config: DomainsConfig, setting: Setting) -> Broadcast:
    """Return a broadcast without values."""
    return Broadcast(segmenter={} if config.domains == "pooled" else blank_segmenter(setting))


def blank_upload(config: DomainsConfig, setting: Setting, first: bool, device: str = "meta") -> Upload:
    """Return an upload without values; pooled: as many rows as the schedule's largest arrival may have."""
    if config.domains == "scanners":
        return Upload(segmenter=blank_segmenter(setting), images={}, labels={})
    shape, rows = setting.shape, setting.most_cases * setting.shape.slices
    size = shape.height, shape.width
    return Upload(
        segmenter={},
        images={"images": torch.zeros(rows, shape.channels, *size, device=device)},
        labels={
            "masks": torch.zeros(rows, len(shape.structures), *size, dtype=torch.uint8, device=device),
            "held": torch.zeros(1, dtype=torch.int64, device=device),
        },
    )


def multi_domain(config: type[C], train: Train[C]) -> Strategy[C, Broadcast, Upload]:
    """Return the strategy that trains by a method on several domains."""
    return Strategy(
        family="generalization",
        config=config,
        server=partial(DomainServer, train),
        learn=partial(learn, train=train),
        blank_broadcast=blank_broadcast,
        blank_upload=blank_upload,
    )
