"""FedWeIT: every site has a masked share of a common base, sparse parameters of its own, and some of the others'.

Yoon et al., "Federated Continual Learning with Weighted Inter-client Transfer", ICML 2021, eq. 1:

    theta_s = B * m_s + A_s + sum_{j != s} alpha_sj A_j,   trained on L(theta_s) + sparsity (|m_s|_1 + |A_s|_1)

m_s is a mask for each row of a weight, A_s sparse, alpha_s an attention for each tensor. Simplified: a site has one
task, its own, so the paper's term that corrects the A of a site's own earlier tasks falls away; B is released whole,
not masked; the A of all sites come down, not a sample of them, and dense, since the wire has no sparse tensors. Only
weights of two and more dimensions are split up so; biases, norms and slopes are common. A site's mask and attention
stay in its vault, with which it is scored; an unseen site is scored with B alone. With `personal: false` this is
federated averaging.
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
    """Settings of FedWeIT. sparsity: of mask and own parameters; personal: whether a site has any of its own."""

    sparsity: float = Field(default=1e-4, ge=0)
    personal: bool = True


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: the base B, and the A_j of every site of the schedule (zero where none yet)."""

    base: Annotated[Weights, Kind.SEGMENTER]
    adaptive: Annotated[Weights, Kind.SEGMENTER]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: the base it trained, its own A_s, and on how many cases (int64 [1])."""

    base: Annotated[Weights, Kind.SEGMENTER]
    adaptive: Annotated[Weights, Kind.SEGMENTER]
    cases: Annotated[Tensor, Kind.COUNT]


def split_weights(weights: Weights) -> dict[str, Tensor]:
    """Return the weights that are split up: those of two and more dimensions."""
    return {name: value for name, value in weights.items() if value.ndim > 1}


class FedWeitServer(Server[Broadcast, Upload]):
    """Averages the base, and keeps the newest A of every site."""

    def __init__(self, config: Config, setting: Setting) -> None:
        self._segmenter = build_segmenter(setting)
        zero = {name: torch.zeros_like(value) for name, value in split_weights(self._segmenter.state_dict()).items()}
        self._adaptive = {f"{site}.{name}": value for site in setting.sites for name, value in zero.items()}

    def rota(self, arriving: tuple[str, ...], online: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Every site that holds data now takes part in every round."""
        return (online,)

    def broadcast(self, site: str, step: int) -> Broadcast:
        return Broadcast(base=self._segmenter.state_dict(), adaptive=self._adaptive)

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        shares = [float(upload.cases) for upload in uploads.values()]
        self._segmenter.load_state_dict(weighted_average([upload.base for upload in uploads.values()], shares))
        for site, upload in uploads.items():
            self._adaptive |= {f"{site}.{name}": value for name, value in upload.adaptive.items()}

    def predictor(self, site: str) -> nn.Module:
        return self._segmenter

    def state_dict(self) -> State:
        adaptive = {f"adaptive/{key}": value for key, value in self._adaptive.items()}
        return {**self._segmenter.state_dict(prefix="base/"), **adaptive}

    def load_state_dict(self, state: State) -> None:
        self._segmenter.load_state_dict(part_of(state, "base/"))
        self._adaptive = part_of(state, "adaptive/")


class Decomposed(nn.Module):
    """A segmenter whose larger weights are B * m + A + sum_j alpha_j A_j; `others` holds A_j stacked, by name."""

    def __init__(self, network: nn.Module, others: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.network = network
        self.others = dict(others)
        split = split_weights(dict(network.named_parameters()))
        self.names = list(split)
        self.mask = nn.ParameterList(torch.ones(len(v), *[1] * (v.ndim - 1)) for v in split.values())
        self.own = nn.ParameterList(torch.zeros_like(value) for value in split.values())
        self.attention = nn.ParameterList(torch.zeros(len(others[name])) for name in self.names)

    def composed(self) -> dict[str, Tensor]:
        """Return the larger weights as the site uses them."""
        base = dict(self.network.named_parameters())
        return {name: base[name] * self.mask[row] + self.added(row) for row, name in enumerate(self.names)}

    def added(self, row: int) -> Tensor:
        """Return A + sum_j alpha_j A_j of one weight."""
        added: Tensor = self.own[row] + torch.tensordot(self.attention[row], self.others[self.names[row]], 1)
        return added

    def sparsity(self) -> Tensor:
        """Return |m|_1 + |A|_1."""
        return torch.stack([value.abs().sum() for value in (*self.mask, *self.own)]).sum()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = functional_call(self.network, self.composed(), (images,))
        return logits

    def private(self) -> dict[str, Tensor]:
        """Return what stays at the site."""
        return {key: value for key, value in self.state_dict().items() if not key.startswith("network.")}


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the base together with the site's mask, its own parameters and its attention on the others'."""
    network = build_segmenter(setting)
    network.load_state_dict(dict(down.base))
    names = split_weights(down.base)
    strangers = [site for site in setting.sites if site != arrival.site]
    others = {
        name: torch.stack([down.adaptive[f"{site}.{name}"] for site in strangers] or [torch.zeros_like(value)])
        for name, value in names.items()
    }
    model = Decomposed(network, others)
    model.load_state_dict(vault.get("private") or {}, strict=False)
    images, masks = slices_of(arrival.cases)
    iterations = setting.budget.iterations_a_round(len(images))
    trained: nn.Module = model if config.personal else network
    descent = descent_of(trained, setting, iterations)
    trained.train()
    for some, their_masks in minibatches(setting, images, masks, iterations, arrival.seed):
        loss = segmentation_loss(trained(some), their_masks)
        descend(loss + config.sparsity * model.sparsity() if config.personal else loss, descent)
    with torch.no_grad():
        for own in model.own:
            own.mul_(own.abs() > config.sparsity)
        vault.keep("private", model.private())
        vault.keep("mask", {name: model.mask[row] for row, name in enumerate(model.names)})
        vault.keep("added", {name: model.added(row) for row, name in enumerate(model.names)})
    return Upload(
        base=dict(network.state_dict()),
        adaptive={name: model.own[row].detach() for row, name in enumerate(model.names)},
        cases=torch.tensor([len(arrival.cases)]),
    )


def at_home(config: Config, setting: Setting, weights: Weights, images: Tensor, vault: Vault) -> Weights:
    """Put the site's own share into the base; a site that has none uses the base as it is."""
    mask, added = vault.get("mask"), vault.get("added")
    if mask is None or added is None:
        return weights
    return {**weights, **{name: weights[name] * mask[name] + added[name] for name in mask}}


def blank_adaptive(setting: Setting) -> dict[str, Tensor]:
    """Return one site's A on torch's meta device."""
    return split_weights(blank_segmenter(setting))


def blank_vault(config: Config, setting: Setting) -> dict[str, Weights]:
    """Return what stays at a site, without values; `private` is all that training goes on from."""
    with torch.device("meta"):
        network = build_segmenter(setting)
        names = split_weights(blank_segmenter(setting))
        others = {name: torch.zeros(max(1, len(setting.sites) - 1), *value.shape) for name, value in names.items()}
        model = Decomposed(network, others)
        mask = {name: model.mask[row].detach() for row, name in enumerate(model.names)}
    return {"private": model.private(), "mask": mask, "added": names}


STRATEGY = Strategy(
    family="federated",
    config=Config,
    server=FedWeitServer,
    learn=learn,
    blank_broadcast=lambda config, setting: Broadcast(
        base=blank_segmenter(setting),
        adaptive={f"{site}.{name}": value for site in setting.sites for name, value in blank_adaptive(setting).items()},
    ),
    blank_upload=lambda config, setting, first: Upload(
        base=blank_segmenter(setting),
        adaptive=blank_adaptive(setting),
        cases=torch.zeros(1, dtype=torch.int64, device="meta"),
    ),
    at_home=at_home,
    blank_vault=blank_vault,
)
