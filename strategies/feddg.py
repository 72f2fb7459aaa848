"""FedDG: sites share amplitude spectra, and each trains to segment its images in the others' appearance.

Liu et al., "FedDG: Federated Domain Generalization on Medical Image Segmentation via Episodic Learning in Continuous
Frequency Space", CVPR 2021. An image's low frequencies take the amplitude (1 - l) A + l A', l ~ U(0, 1), with A' of
another site, and keep their phase (eq. 2). Episodic learning: a step on the site's own images must help on those so
changed, L(w; x) + L(w - inner grad L(w; x); x'). Sites are averaged as in federated averaging. Of the paper, the
contrastive loss at boundaries is left out.

The amplitudes leave as a STATISTIC: a few per site, of single slices, and of each the low frequencies alone, since no
more is ever exchanged. They are no mean over patients: a site that minds must refuse the kind. Those of a site that has
left go on coming down to the others. With `exchange: false` this is federated averaging, and no amplitude leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call

from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Kind, Payload, Weights
from strategies import Server, State, Strategy, StrategyConfig
from strategies.common.averaging import weighted_average
from strategies.common.segmenter import (
    blank_segmenter,
    build_segmenter,
    descend,
    descent_of,
    minibatches,
    segmentation_loss,
    slices_of,
)
from strategies.common.state import part_of
from strategies.setting import Setting


class Config(StrategyConfig):
    """Settings of FedDG.

    exchange: whether amplitudes are shared at all; spectra: how many a site shares
    window: of the spectrum that is exchanged, as a share of its height and width
    inner: the inner step of episodic learning; exact: second order through it; episodic: off means L(w; x) + L(w; x')
    """

    exchange: bool = True
    spectra: int = Field(default=8, ge=1)
    window: float = Field(default=0.3, gt=0, le=1)
    episodic: bool = True
    inner: float = Field(default=0.01, gt=0)
    exact: bool = False


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: the averaged segmenter, every site's amplitudes, and who has shared any."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    amplitudes: Annotated[Weights, Kind.STATISTIC]
    shared: Annotated[Tensor, Kind.COUNT]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: its segmenter, amplitudes float32 [spectra, C, h, w], and its cases (int64 [1])."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    amplitudes: Annotated[Weights, Kind.STATISTIC]
    cases: Annotated[Tensor, Kind.COUNT]


def size_of(setting: Setting, config: Config) -> tuple[int, int, int, int]:
    """Return the size of the amplitudes that one site shares; height and width are odd, round frequency zero."""
    height, width = (2 * int(config.window * n / 2) + 1 for n in (setting.shape.height, setting.shape.width))
    return config.spectra, setting.shape.channels, height, width


class FedDGServer(Server[Broadcast, Upload]):
    """Averages what the sites trained, and hands on their amplitudes."""

    def __init__(self, config: Config, setting: Setting) -> None:
        self._segmenter = build_segmenter(setting)
        self._sites = setting.sites
        size = size_of(setting, config)
        self._amplitudes = {site: torch.zeros(size) for site in setting.sites} if config.exchange else {}
        self._shared = torch.zeros(len(setting.sites), dtype=torch.uint8)

    def rota(self, arriving: tuple[str, ...], online: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Every site that holds data now takes part in every round."""
        return (online,)

    def broadcast(self, site: str, step: int) -> Broadcast:
        return Broadcast(segmenter=self._segmenter.state_dict(), amplitudes=self._amplitudes, shared=self._shared)

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        shares = [float(upload.cases) for upload in uploads.values()]
        self._segmenter.load_state_dict(weighted_average([upload.segmenter for upload in uploads.values()], shares))
        for site, upload in uploads.items():
            if upload.amplitudes:
                self._amplitudes[site] = upload.amplitudes["low"]
                self._shared[self._sites.index(site)] = 1

    def predictor(self, site: str) -> nn.Module:
        return self._segmenter

    def state_dict(self) -> State:
        amplitudes = {f"amplitudes/{site}": value for site, value in self._amplitudes.items()}
        return {**self._segmenter.state_dict(prefix="segmenter/"), **amplitudes, "shared": self._shared.clone()}

    def load_state_dict(self, state: State) -> None:
        self._segmenter.load_state_dict(part_of(state, "segmenter/"))
        self._amplitudes = part_of(state, "amplitudes/")
        self._shared = state["shared"].clone()


def low_amplitudes(images: Tensor, height: int, width: int) -> Tensor:
    """Return the amplitudes [N, C, height, width] of the lowest frequencies of images [N, C, H, W]; zero is central."""
    spectrum: Tensor = torch.fft.fftshift(torch.fft.fft2(images).abs(), dim=(-2, -1))
    return spectrum[..., *window(images, height, width)]


def window(images: Tensor, height: int, width: int) -> tuple[slice, slice]:
    """Return where the lowest frequencies are in a spectrum whose frequency zero is in the middle."""
    top, left = images.shape[-2] // 2 - height // 2, images.shape[-1] // 2 - width // 2
    return slice(top, top + height), slice(left, left + width)


def exchanged(images: Tensor, amplitudes: Tensor, shares: Tensor) -> Tensor:
    """Give images [N, C, H, W] a share [N] of other low amplitudes [N, C, h, w]; every phase stays as it is."""
    spectrum = torch.fft.fftshift(torch.fft.fft2(images), dim=(-2, -1))
    amplitude, phase = spectrum.abs(), spectrum.angle()
    place = window(images, *amplitudes.shape[-2:])
    amplitude[..., *place] = torch.lerp(amplitude[..., *place], amplitudes, shares.view(-1, 1, 1, 1))
    found: Tensor = torch.fft.ifft2(torch.fft.ifftshift(torch.polar(amplitude, phase), dim=(-2, -1))).real
    return found


def episode(network: nn.Module, images: Tensor, changed: Tensor, masks: Tensor, config: Config) -> Tensor:
    """Return L(w; x) + L(w - inner grad L(w; x); x'), or without episodes the sum of both losses at w."""
    loss = segmentation_loss(network(images), masks)
    parameters: dict[str, Tensor] = dict(network.named_parameters())
    if config.episodic:
        gradients = torch.autograd.grad(loss, list(parameters.values()), create_graph=config.exact, retain_graph=True)
        steps = zip(parameters.items(), gradients, strict=True)
        parameters = {name: value - config.inner * step for (name, value), step in steps}
    return loss + segmentation_loss(functional_call(network, parameters, (changed,)), masks)


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the broadcast segmenter in episodes between the site's own appearance and the others'."""
    network = build_segmenter(setting)
    network.load_state_dict(dict(down.segmenter))
    images, masks = slices_of(arrival.cases)
    iterations = setting.budget.iterations_a_round(len(images))
    descent, generator = descent_of(network, setting, iterations), torch.Generator().manual_seed(arrival.seed)
    there = [site for row, site in enumerate(setting.sites) if down.shared[row] and site != arrival.site]
    others = [down.amplitudes[site] for site in there]
    network.train()
    for some, their_masks in minibatches(setting, images, masks, iterations, arrival.seed):
        if not others:
            descend(segmentation_loss(network(some), their_masks), descent)
            continue
        bank = torch.cat(others)
        rows = torch.randint(len(bank), (len(some),), generator=generator)
        changed = exchanged(some, bank[rows], torch.rand(len(some), generator=generator)).clamp(0, 1)
        descend(episode(network, some, changed, their_masks, config), descent)
    count, _, height, width = size_of(setting, config)
    chosen = images[torch.randint(len(images), (count,), generator=generator)]
    return Upload(
        segmenter=dict(network.state_dict()),
        amplitudes={"low": low_amplitudes(chosen, height, width)} if config.exchange else {},
        cases=torch.tensor([len(arrival.cases)]),
    )


def blank_broadcast(config: Config, setting: Setting) -> Broadcast:
    """Return a broadcast without values."""
    size = size_of(setting, config)
    return Broadcast(
        segmenter=blank_segmenter(setting),
        amplitudes={site: torch.zeros(size, device="meta") for site in setting.sites} if config.exchange else {},
        shared=torch.zeros(len(setting.sites), dtype=torch.uint8, device="meta"),
    )


def blank_upload(config: Config, setting: Setting, first: bool) -> Upload:
    """Return an upload without values."""
    return Upload(
        segmenter=blank_segmenter(setting),
        amplitudes={"low": torch.zeros(size_of(setting, config), device="meta")} if config.exchange else {},
        cases=torch.zeros(1, dtype=torch.int64, device="meta"),
    )


STRATEGY = Strategy(
    family="generalization",
    config=Config,
    server=FedDGServer,
    learn=learn,
    blank_broadcast=blank_broadcast,
    blank_upload=blank_upload,
)
