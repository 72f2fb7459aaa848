"""FedBN: federated averaging of all but the norms, which stay home in each site's vault.

Li et al., "FedBN: Federated Learning on Non-IID Features via Local Batch Normalization", ICLR 2021, algorithm 1. A site
is scored with its own norms. An unseen site, which has none, takes a batch norm's mean and variance from its own images
(no label is used) and its scale and shift as they were before any training: the paper averages the sites' scales and
shifts for it, which would let norms leave. Instance norms without scale and shift, as MONAI's are, have nothing to
keep, and then this is federated averaging.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Kind, Payload, Weights
from strategies import Server, State, Strategy, StrategyConfig, always, summed_by_cases
from strategies.common.averaging import weighted_average
from strategies.common.segmenter import blank_segmenter, build_segmenter, train_on_arrival
from strategies.setting import Setting


class Config(StrategyConfig):
    """Settings of FedBN. norms: `home`, or `shared` as in federated averaging."""

    norms: Literal["home", "shared"] = "home"


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: the averaged segmenter without its norms."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: the segmenter it trained, without its norms, and on how many cases (int64 [1])."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    cases: Annotated[Tensor, Kind.COUNT]


def norms_of(network: nn.Module) -> list[nn.BatchNorm2d | nn.InstanceNorm2d]:
    """Return the norm layers of a network."""
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d)]


def home_names(config: Config, setting: Setting) -> set[str]:
    """Return the names of what stays at a site: every parameter and buffer of a norm."""
    if config.norms == "shared":
        return set()
    with torch.device("meta"):
        network = build_segmenter(setting)
    norms = {id(module) for module in norms_of(network)}
    paths = [path for path, module in network.named_modules() if id(module) in norms]
    return {name for name in network.state_dict() if name.rpartition(".")[0] in paths}


def without(weights: Weights, names: set[str]) -> dict[str, Tensor]:
    """Return weights without those named."""
    return {name: value for name, value in weights.items() if name not in names}


class FedBNServer(Server[Broadcast, Upload]):
    """Averages what the sites trained; the norms of its own segmenter are untrained for ever."""

    def __init__(self, config: Config, setting: Setting) -> None:
        self._home = home_names(config, setting)
        self._segmenter = build_segmenter(setting)

    def rota(self, arriving: tuple[str, ...], online: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Every site that holds data now takes part in every round."""
        return (online,)

    def broadcast(self, site: str, step: int) -> Broadcast:
        return Broadcast(segmenter=without(self._segmenter.state_dict(), self._home))

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        shares = [float(upload.cases) for upload in uploads.values()]
        average = weighted_average([upload.segmenter for upload in uploads.values()], shares)
        self._segmenter.load_state_dict({**self._segmenter.state_dict(), **average})

    def predictor(self, site: str) -> nn.Module:
        return self._segmenter

    def state_dict(self) -> State:
        return dict(self._segmenter.state_dict())

    def load_state_dict(self, state: State) -> None:
        self._segmenter.load_state_dict(state)


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the broadcast segmenter with the site's own norms, and keep those."""
    home = home_names(config, setting)
    before = {**build_segmenter(setting).state_dict(), **down.segmenter, **(vault.get("norms") or {})}
    after = train_on_arrival(before, setting, arrival)
    if home:
        vault.keep("norms", {name: after[name] for name in home})
    return Upload(segmenter=without(after, home), cases=torch.tensor([len(arrival.cases)]))


def at_home(config: Config, setting: Setting, weights: Weights, images: Tensor, vault: Vault) -> Weights:
    """Put the site's own norms in; a site that has none yet lets its batch norms measure its images."""
    if config.norms == "shared":
        return weights
    kept = vault.get("norms")
    return measured(setting, weights, images) if kept is None else {**weights, **kept}


@torch.no_grad()
def measured(setting: Setting, weights: Weights, images: Tensor) -> dict[str, Tensor]:
    """Return weights whose batch norms hold the mean and variance of their inputs over images [N, C, H, W]."""
    network = build_segmenter(setting)
    network.load_state_dict(dict(weights))
    network.eval()
    for norm in norms_of(network):
        if norm.track_running_stats:
            norm.reset_running_stats()
            norm.momentum = 1.0
            norm.train()
    network(images)
    return dict(network.state_dict())


def blank_vault(config: Config, setting: Setting) -> dict[str, Weights]:
    """Return what stays at a site, without values."""
    blank, home = blank_segmenter(setting), home_names(config, setting)
    return {"norms": {name: value for name, value in blank.items() if name in home}} if home else {}


STRATEGY = Strategy(
    family="federated",
    config=Config,
    server=FedBNServer,
    learn=learn,
    blank_broadcast=lambda config, setting: Broadcast(
        segmenter=without(blank_segmenter(setting), home_names(config, setting))
    ),
    blank_upload=lambda config, setting, first: Upload(
        segmenter=without(blank_segmenter(setting), home_names(config, setting)),
        cases=torch.zeros(1, dtype=torch.int64, device="meta"),
    ),
    at_home=at_home,
    blank_vault=blank_vault,
    trains_privately=always,
    sums=summed_by_cases,
)
