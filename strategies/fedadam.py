"""FedAdam: the server takes an Adam step along the average of what the sites changed.

Reddi et al., "Adaptive Federated Optimization", ICLR 2021, algorithm 2. With D the mean change over the sites, m <- b1
m + (1 - b1) D,  v <- b2 v + (1 - b2) D^2,  w <- w + eta m / (sqrt(v) + tau), from v = tau^2. Buffers of norms are
averaged. A step is about eta for every parameter, whatever the sites changed: it needs many rounds. With `adaptive:
false` this is federated averaging.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Kind, Payload, Weights
from strategies import Server, State, Strategy, StrategyConfig, always, summed_by_cases
from strategies.common.averaging import weighted_average
from strategies.common.segmenter import blank_segmenter, build_segmenter, train_on_arrival
from strategies.common.state import part_of
from strategies.setting import Setting


class Config(StrategyConfig):
    """Settings of the server's Adam: eta is `rate`, b1 and b2 are `betas`, tau is `floor`."""

    adaptive: bool = True
    rate: float = Field(default=0.02, gt=0)
    betas: tuple[float, float] = (0.9, 0.99)
    floor: float = Field(default=1e-3, gt=0)


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: the server's segmenter."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: the segmenter it trained, and on how many cases (int64 [1])."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    cases: Annotated[Tensor, Kind.COUNT]


class FedAdamServer(Server[Broadcast, Upload]):
    """Keeps both moments of what the sites change, and steps by them."""

    def __init__(self, config: Config, setting: Setting) -> None:
        self._config = config
        self._segmenter = build_segmenter(setting)
        parameters = dict(self._segmenter.named_parameters())
        self._first = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self._second = {name: torch.full_like(value, config.floor**2) for name, value in parameters.items()}

    def rota(self, arriving: tuple[str, ...], online: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Every site that holds data now takes part in every round."""
        return (online,)

    def broadcast(self, site: str, step: int) -> Broadcast:
        return Broadcast(segmenter=self._segmenter.state_dict())

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        shares = [float(upload.cases) for upload in uploads.values()]
        average = weighted_average([upload.segmenter for upload in uploads.values()], shares)
        if self._config.adaptive:
            now = self._segmenter.state_dict()
            average |= {name: now[name] + self._step(name, average[name] - now[name]) for name in self._first}
        self._segmenter.load_state_dict(average)

    def _step(self, name: str, change: Tensor) -> Tensor:
        """Take a parameter's mean change into its moments, and return its step."""
        one, two = self._config.betas
        self._first[name] = one * self._first[name] + (1 - one) * change
        self._second[name] = two * self._second[name] + (1 - two) * change.square()
        return self._config.rate * self._first[name] / (self._second[name].sqrt() + self._config.floor)

    def predictor(self, site: str) -> nn.Module:
        return self._segmenter

    def state_dict(self) -> State:
        moments = {f"first/{name}": value for name, value in self._first.items()}
        moments |= {f"second/{name}": value for name, value in self._second.items()}
        return {**self._segmenter.state_dict(prefix="segmenter/"), **moments}

    def load_state_dict(self, state: State) -> None:
        self._segmenter.load_state_dict(part_of(state, "segmenter/"))
        self._first = part_of(state, "first/")
        self._second = part_of(state, "second/")


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the broadcast segmenter on the site's current cases."""
    return Upload(
        segmenter=train_on_arrival(down.segmenter, setting, arrival),
        cases=torch.tensor([len(arrival.cases)]),
    )


STRATEGY = Strategy(
    family="federated",
    config=Config,
    server=FedAdamServer,
    learn=learn,
    blank_broadcast=lambda config, setting: Broadcast(segmenter=blank_segmenter(setting)),
    blank_upload=lambda config, setting, first: Upload(
        segmenter=blank_segmenter(setting), cases=torch.zeros(1, dtype=torch.int64, device="meta")
    ),
    trains_privately=always,
    sums=summed_by_cases,
)
