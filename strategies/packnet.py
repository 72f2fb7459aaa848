"""PackNet: every site owns weights of its own, found by pruning, which no later site changes.

Mallya & Lazebnik, "PackNet: Adding Multiple Tasks to a Single Network by Iterative Pruning", CVPR 2018. A site trains
the weights that no one owns; then, of those in each layer, it prunes the smallest to zero, trains the rest on for a
while, and owns them. Later sites read them and leave them as they are. A site that was seen is segmented with the
weights that it and those before it own, exactly as it left them; an unseen one with all weights owned by then.

Only convolution weights are shared out. As in the paper, biases and the parameters of norms are the first site's and
stay; batch norm's running statistics, which the paper fixes too, are each site's own (see
`strategies/common/normalization.py`). A step's training is shared between the two phases. A site that comes back owns
new weights as well, and is segmented as it last left things.
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
from strategies import State, Strategy, StrategyConfig
from strategies.common.normalization import SiteStatistics
from strategies.common.segmenter import (
    blank_segmenter,
    build_segmenter,
    descend,
    descent_of,
    minibatches,
    segmentation_loss,
    slices_of,
)
from strategies.common.sequence import SequentialServer
from strategies.common.state import part_of
from strategies.setting import Setting


class Config(StrategyConfig):
    """Settings of PackNet.

    prune: the share of each layer's free weights that a site gives back; retrain: the share of the training that comes
    after pruning; packing: False prunes and keeps nothing, which is fine-tuning
    """

    prune: float = Field(default=0.6, gt=0, lt=1)
    retrain: float = Field(default=0.3, ge=0, lt=1)
    packing: bool = True


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: the segmenter, and who owns each weight (0: no one, k: the k-th to learn)."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    owner: Annotated[Weights, Kind.SEGMENTER]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: the segmenter, and who owns each weight now. Ownership is a part of the model."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    owner: Annotated[Weights, Kind.SEGMENTER]


class PacknetServer(SequentialServer[Broadcast, Upload]):
    """Keeps the one network, who owns which of its weights, and a view of it for each site."""

    def __init__(self, config: Config, setting: Setting) -> None:
        self._config = config
        self._sites = setting.sites
        self._segmenter = build_segmenter(setting)
        self._owner = {name: torch.zeros(value.shape, dtype=torch.uint8) for name, value in kernels(self._segmenter)}
        self._number = torch.zeros(len(setting.sites), dtype=torch.uint8)
        self._views = {site: build_segmenter(setting) for site in setting.sites}
        self._statistics = SiteStatistics(self._segmenter, setting, "own" if config.packing else "newest")

    def broadcast(self, site: str, step: int) -> Broadcast:
        return Broadcast(segmenter=self._segmenter.state_dict(), owner=self._owner)

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        for site, upload in uploads.items():
            self._segmenter.load_state_dict(dict(upload.segmenter))
            self._statistics.keep(site, upload.segmenter)
            if newest(upload.owner) > newest(self._owner):
                self._number[self._sites.index(site)] = newest(upload.owner)
            self._owner = dict(upload.owner)

    def predictor(self, site: str) -> nn.Module:
        number = int(self._number[self._sites.index(site)]) if site in self._sites else 0
        segmenter = self._statistics.segmenter_for(site)
        if not number:
            return segmenter
        view = self._views[site]
        view.load_state_dict(masked(segmenter.state_dict(), self._owner, number))
        return view

    def state_dict(self) -> State:
        return {
            **self._segmenter.state_dict(prefix="segmenter/"),
            **{f"owner/{name}": value for name, value in self._owner.items()},
            **self._statistics.state_dict(),
            "number": self._number.clone(),
        }

    def load_state_dict(self, state: State) -> None:
        self._segmenter.load_state_dict(part_of(state, "segmenter/"))
        self._owner = {name: state[f"owner/{name}"] for name in self._owner}
        self._statistics.load_state_dict(state)
        self._number = state["number"].clone()


def kernels(network: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return the convolution weights of a network, which are the ones that can be owned."""
    return [(name, value) for name, value in network.named_parameters() if value.dim() == 4]


def newest(owner: Weights) -> int:
    """Return the number of the last to own anything, 0 where no one does."""
    return max(int(who.max()) for who in owner.values())


def masked(segmenter: Weights, owner: Weights, number: int) -> dict[str, Tensor]:
    """Return a segmenter with the weights that the first `number` own, the others at zero."""
    return {
        name: value * ((owner[name] > 0) & (owner[name] <= number)) if name in owner else value
        for name, value in segmenter.items()
    }


def claim(weight: Tensor, owner: Tensor, number: int, prune: float) -> Tensor:
    """Return a layer's owners after its free weights were pruned: the largest (1 - prune) of them go to `number`."""
    free = owner == 0
    kept = round((1 - prune) * int(free.sum()))
    sizes = torch.where(free, weight.detach().abs(), -1.0).flatten()
    claimed = owner.clone().flatten()
    claimed[sizes.argsort(descending=True, stable=True)[:kept]] = number
    return claimed.view_as(owner)


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the free weights; in a step's last round prune them, train what is left, and own it."""
    network = build_segmenter(setting)
    network.load_state_dict(dict(down.segmenter))
    data = slices_of(arrival.cases)
    iterations = setting.budget.iterations_a_round(len(data[0]))
    if not config.packing:
        fit(network, setting, data, {}, iterations=iterations, seed=arrival.seed, first=True)
        return Upload(segmenter=dict(network.state_dict()), owner=dict(down.owner))
    number = newest(down.owner) + 1
    free = {name: owner == 0 for name, owner in down.owner.items()}
    first, last = number == 1, arrival.round == setting.budget.rounds
    after = round(config.retrain * iterations) if last else 0
    fit(network, setting, data, free, iterations=iterations - after, seed=arrival.seed, first=first)
    if not last:
        return Upload(segmenter=dict(network.state_dict()), owner=dict(down.owner))
    owner = {name: claim(value, down.owner[name], number, config.prune) for name, value in kernels(network)}
    with torch.no_grad():
        for name, value in kernels(network):
            value.mul_(owner[name] > 0)
    own = {name: who == number for name, who in owner.items()}
    fit(network, setting, data, own, iterations=after, seed=seed_of(arrival.seed, "retrain"), first=first)
    return Upload(segmenter=dict(network.state_dict()), owner=owner)


def fit(
    network: nn.Module,
    setting: Setting,
    data: tuple[Tensor, Tensor],
    mine: Mapping[str, Tensor],
    *,
    iterations: int,
    seed: int,
    first: bool,
) -> None:
    """Train the weights that `mine` marks, and for the `first` to learn all that is no convolution weight.

    What may not move is put back after each step, to the bit: the optimizer's momentum and decay would move it.
    """
    if not iterations:
        return
    descent = descent_of(network, setting, iterations)
    network.train()
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    for some, their_masks in minibatches(setting, *data, iterations, seed):
        descend(segmentation_loss(network(some), their_masks), descent)
        with torch.no_grad():
            for name, value in network.named_parameters():
                if name in mine:
                    value.copy_(torch.where(mine[name], value, before[name]))
                elif not first:
                    value.copy_(before[name])


def blank_owner(setting: Setting) -> dict[str, Tensor]:
    """Return who owns each weight, without values."""
    with torch.device("meta"):
        network = build_segmenter(setting)
    return {name: torch.zeros(value.shape, dtype=torch.uint8, device="meta") for name, value in kernels(network)}


STRATEGY = Strategy(
    family="continual",
    config=Config,
    server=PacknetServer,
    learn=learn,
    blank_broadcast=lambda config, setting: Broadcast(segmenter=blank_segmenter(setting), owner=blank_owner(setting)),
    blank_upload=lambda config, setting, first: Upload(segmenter=blank_segmenter(setting), owner=blank_owner(setting)),
)
