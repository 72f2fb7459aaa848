"""VAE replay: each site leaves a small generator of image-mask pairs, which later sites rehearse.

Shin et al., "Continual Learning with Deep Generative Replay", NeurIPS 2017, with a variational autoencoder (Kingma &
Welling, ICLR 2014), as van de Ven & Tolias have it ("Generative replay with feedback connections as a general strategy
for continual learning", arXiv 1809.10635). A site that comes as the N-th trains the segmenter on

    L(theta) = 1/N L(x, y) + (1 - 1/N) L(x', y')

with x' and y' replays of the earlier ones, and then its autoencoder.

Ours: an autoencoder for each site in the place of one for all, so no generator forgets; it makes masks along with the
images, where the paper has the old network label replays; the loss is N times as large, which to AdamW is the same. Few
slices and few steps leave the codes far from the prior, so a Gaussian is fitted to them (Ghosh et al., "From
Variational to Deterministic Autoencoders", ICLR 2020). The encoder stays in the vault. The decoder leaves as a
GENERATOR: it makes images like the site's, and a site that admits diffusion weights must be able to refuse it. Replays
are as blurred as the autoencoder is small. With `replays: 0` this is fine-tuning, and no decoder leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from monai.networks.nets import VarAutoEncoder
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from sites.seeds import seed_of, torch_seeded
from sites.stream import Arrival, Shape
from sites.vault import Vault
from sites.wire import Kind, Payload, Weights
from strategies import ImageMaker, State, Strategy, StrategyConfig
from strategies.common.alignment import Batch, Domain
from strategies.common.modulation import in_table, learnt_rows, rows_of
from strategies.common.rehearsal import by_its_masks, train_rehearsing
from strategies.common.segmenter import batches, blank_segmenter, build_segmenter, descend, slices_of
from strategies.common.sequence import SequentialServer
from strategies.common.state import part_of
from strategies.setting import Setting


class Config(StrategyConfig):
    """Settings of VAE replay.

    replays: pairs that a site makes of all earlier ones together; latent: numbers that a pair is made from
    widths: channels of the autoencoder, each level halving the resolution; steps: of its training for an arrival
    noise: the standard deviation of a pixel round what the decoder says, in units of the image
    """

    replays: int = Field(default=192, ge=0)
    latent: int = Field(default=32, ge=1)
    widths: tuple[int, ...] = Field(default=(16, 32, 64), min_length=1)
    steps: int = Field(default=600, ge=1)
    noise: float = Field(default=0.2, gt=0)
    learning_rate: float = Field(default=2e-3, gt=0)


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: the segmenter, the decoder of every site of the schedule, and who has released one."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    decoders: Annotated[Weights, Kind.GENERATOR]
    learnt: Annotated[Tensor, Kind.COUNT]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: the segmenter, trained on, and its decoder."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    decoder: Annotated[Weights, Kind.GENERATOR]


def build_autoencoder(config: Config, shape: Shape, seed: int) -> VarAutoEncoder:
    """Build the autoencoder of pairs [N, C + S, H, W], its weights drawn from a seed; it answers with logits."""
    channels = shape.channels + len(shape.structures)
    with torch_seeded(seed):
        return VarAutoEncoder(
            spatial_dims=2,
            in_shape=(channels, shape.height, shape.width),
            out_channels=channels,
            latent_size=config.latent,
            channels=config.widths,
            strides=(2,) * len(config.widths),
            norm=None,
            use_sigmoid=False,
        )


def decoder_of(weights: Weights) -> dict[str, Tensor]:
    """Return the part of an autoencoder's weights that makes pairs."""
    return {name: value for name, value in weights.items() if name.startswith("decode")}


@torch.no_grad()
def onto_codes(model: VarAutoEncoder, images: Tensor, masks: Tensor) -> dict[str, Tensor]:
    """Return the decoder, its first layer moved so that draws from the prior are spread as the pairs' codes are."""
    mean, log_variance = model.encode_forward(torch.cat([images, masks], dim=1))
    spread = torch.cov(mean.T, correction=0) + torch.diag(log_variance.exp().mean(dim=0))
    decoder, weight = decoder_of(model.state_dict()), model.decodeL.weight
    decoder["decodeL.weight"] = weight @ torch.linalg.cholesky(spread)
    decoder["decodeL.bias"] = model.decodeL.bias + weight @ mean.mean(dim=0)
    return decoder


def blank_weights(config: Config, setting: Setting) -> dict[str, Tensor]:
    """Return the autoencoder's weights on torch's meta device; none where nothing is replayed."""
    with torch.device("meta"):
        return dict(build_autoencoder(config, setting.shape, 0).state_dict()) if config.replays else {}


class VaeReplayServer(SequentialServer[Broadcast, Upload]):
    """Passes the segmenter from one site to the next, and keeps every site's decoder."""

    def __init__(self, config: Config, setting: Setting) -> None:
        self._config = config
        self._setting = setting
        self._segmenter = build_segmenter(setting)
        self._decoders: dict[str, State] = {}
        self._none = {name: torch.zeros(one.shape) for name, one in decoder_of(blank_weights(config, setting)).items()}

    def broadcast(self, site: str, step: int) -> Broadcast:
        sites = self._setting.sites
        return Broadcast(
            segmenter=self._segmenter.state_dict(),
            decoders=in_table({one: self._decoders.get(one, self._none) for one in sites}),
            learnt=torch.tensor([one in self._decoders for one in sites], dtype=torch.uint8),
        )

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        for site, upload in uploads.items():
            self._segmenter.load_state_dict(dict(upload.segmenter))
            if upload.decoder:
                self._decoders[site] = dict(upload.decoder)

    def replays(self, count: int) -> Mapping[str, tuple[Tensor, Tensor]]:
        seed = self._setting.seed
        return {
            site: replay(self._config, self._setting, self._decoders[site], count, seed_of(seed, "replay", site))
            for site in self._setting.sites
            if site in self._decoders
        }

    def predictor(self, site: str) -> nn.Module:
        return self._segmenter

    def state_dict(self) -> State:
        decoders = {f"decoder/{key}": value for key, value in in_table(self._decoders).items()}
        return {**self._segmenter.state_dict(prefix="segmenter/"), **decoders}

    def load_state_dict(self, state: State) -> None:
        self._segmenter.load_state_dict(part_of(state, "segmenter/"))
        self._decoders = rows_of(part_of(state, "decoder/"))


def evidence_loss(model: nn.Module, images: Tensor, masks: Tensor, noise: float) -> Tensor:
    """Return the negative evidence lower bound of pairs, a mean over them, up to a constant."""
    logits, mean, log_variance, _ = model(torch.cat([images, masks], dim=1))
    split = images.shape[1]
    image = (torch.sigmoid(logits[:, :split]) - images).square().sum() / (2 * noise**2)
    mask = binary_cross_entropy_with_logits(logits[:, split:], masks, reduction="sum")
    return (image + mask + divergence(mean, log_variance)) / len(images)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of a diagonal Gaussian from the standard one, summed."""
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum() / 2


@torch.no_grad()
def replay(config: Config, setting: Setting, decoder: Weights, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Make `count` pairs of a site: images float32 [N, C, H, W] in 0..1 and masks uint8 [N, S, H, W]."""
    model = build_autoencoder(config, setting.shape, 0).eval()
    model.load_state_dict(dict(decoder), strict=False)
    draws = torch.randn(count, config.latent, generator=torch.Generator().manual_seed(seed))
    logits = model.decode_forward(draws, use_sigmoid=False)
    split = setting.shape.channels
    return torch.sigmoid(logits[:, :split]), (logits[:, split:] > 0).to(torch.uint8)


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the segmenter on the site's slices and on replays of the earlier sites, then the site's own autoencoder."""
    known = learnt_rows(down.decoders, down.learnt, setting)
    others = {site: decoder for site, decoder in known.items() if site != arrival.site}
    count = -(-config.replays // max(1, len(others)))
    past = [
        Domain(*replay(config, setting, decoder, count, seed_of(arrival.seed, "replay", site)))
        for site, decoder in others.items()
    ]

    def held(logits: Tensor, replays: Batch) -> Tensor:
        return len(others) * by_its_masks(logits, replays)

    segmenter = train_rehearsing(down.segmenter, setting, arrival, past, held)
    return Upload(segmenter=segmenter, decoder=fit(config, setting, arrival, vault) if config.replays else {})


def fit(config: Config, setting: Setting, arrival: Arrival, vault: Vault) -> dict[str, Tensor]:
    """Train the site's autoencoder, going on from the one that it keeps; keep it, and return its decoder."""
    images, masks = slices_of(arrival.cases)
    model = build_autoencoder(config, setting.shape, seed_of(setting.seed, "autoencoder", arrival.site))
    model.load_state_dict(vault.get("autoencoder") or model.state_dict())
    steps = setting.budget.a_round(config.steps)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, fused=True)
    descent = optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model.train()
    for rows in batches(len(images), setting.budget.batch, steps, seed_of(arrival.seed, "autoencoder")):
        descend(evidence_loss(model, images[rows], masks[rows].float(), config.noise), descent)
    vault.keep("autoencoder", dict(model.state_dict()))
    return onto_codes(model, images, masks.float())


def remake(config: Config, setting: Setting, down: Broadcast, up: Upload, site: str) -> ImageMaker | None:
    """Return what makes images as a receiver could of an upload."""
    if not up.decoder:
        return None
    return lambda count, seed: replay(config, setting, up.decoder, count, seed)[0]


def blank_broadcast(config: Config, setting: Setting) -> Broadcast:
    """Return a broadcast without values."""
    decoder = decoder_of(blank_weights(config, setting))
    return Broadcast(
        segmenter=blank_segmenter(setting),
        decoders=in_table(dict.fromkeys(setting.sites, decoder)),
        learnt=torch.zeros(len(setting.sites), dtype=torch.uint8, device="meta"),
    )


def blank_upload(config: Config, setting: Setting, first: bool) -> Upload:
    """Return an upload without values."""
    return Upload(segmenter=blank_segmenter(setting), decoder=decoder_of(blank_weights(config, setting)))


STRATEGY = Strategy(
    family="replay",
    config=Config,
    server=VaeReplayServer,
    learn=learn,
    blank_broadcast=blank_broadcast,
    blank_upload=blank_upload,
    remake=remake,
    blank_vault=lambda config, setting: {"autoencoder": blank_weights(config, setting)} if config.replays else {},
)
