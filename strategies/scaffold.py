"""SCAFFOLD: federated averaging whose sites correct their gradients by control variates.

Karimireddy et al., "SCAFFOLD: Stochastic Controlled Averaging for Federated Learning", ICML 2020, algorithm 1: a site
steps along g_i(y) - c_i + c, and renews c_i by option II, the mean of its gradients g_i(y) along the way; c is the mean
of all c_i. (Option I, the gradient at the broadcast segmenter, is large where a scanner is new, and stays so for a
whole round: segmenters were lost by it.) What is adapted to arrival schedules: variates are those of one step, since
who is online changes with it, so that the first round of a step is uncorrected (give the budget several rounds); sites
weigh by cases in both means. Sites descend by plain SGD, as in the paper, where other strategies take AdamW, which
makes a whole step of a correction however small, and runs off along it. A site's c_i is in its vault. With
`correct: false` this is federated averaging by the same SGD.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Kind, Payload, Weights
from strategies import Server, State, Strategy, StrategyConfig, summed_by_cases
from strategies.common.averaging import weighted_average
from strategies.common.segmenter import (
    Descent,
    blank_segmenter,
    build_segmenter,
    minibatches,
    segmentation_loss,
    slices_of,
)
from strategies.common.state import part_of
from strategies.setting import Setting

Loss = Callable[[Tensor, Tensor], Tensor]


class Config(StrategyConfig):
    """Settings of SCAFFOLD.

    correct: whether gradients are corrected
    rate: the learning rate of a site's SGD, which falls along a half cosine to zero
    """

    correct: bool = True
    rate: float = Field(default=0.3, gt=0)


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: the averaged segmenter x and the server's variate c (zero until a step has one)."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    control: Annotated[Weights, Kind.GRADIENT]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: the segmenter it trained, its variate c_i, and on how many cases (int64 [1])."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    control: Annotated[Weights, Kind.GRADIENT]
    cases: Annotated[Tensor, Kind.COUNT]


class ScaffoldServer(Server[Broadcast, Upload]):
    """Averages what the sites trained, and their variates."""

    def __init__(self, config: Config, setting: Setting) -> None:
        self._segmenter = build_segmenter(setting)
        self._control = {name: torch.zeros_like(value) for name, value in parameters_of(self._segmenter).items()}
        self._step = 0

    def rota(self, arriving: tuple[str, ...], online: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Every site that holds data now takes part in every round."""
        return (online,)

    def broadcast(self, site: str, step: int) -> Broadcast:
        control = {name: value * (step == self._step) for name, value in self._control.items()}
        return Broadcast(segmenter=self._segmenter.state_dict(), control=control)

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        shares = [float(upload.cases) for upload in uploads.values()]
        self._segmenter.load_state_dict(weighted_average([upload.segmenter for upload in uploads.values()], shares))
        self._control = weighted_average([upload.control for upload in uploads.values()], shares)
        self._step = step

    def predictor(self, site: str) -> nn.Module:
        return self._segmenter

    def state_dict(self) -> State:
        control = {f"control/{name}": value for name, value in self._control.items()}
        return {**self._segmenter.state_dict(prefix="segmenter/"), **control, "step": torch.tensor(self._step)}

    def load_state_dict(self, state: State) -> None:
        self._segmenter.load_state_dict(part_of(state, "segmenter/"))
        self._control = part_of(state, "control/")
        self._step = int(state["step"])


def parameters_of(network: nn.Module) -> dict[str, Tensor]:
    """Return a network's parameters, without its buffers."""
    return {name: value.detach() for name, value in network.named_parameters()}


def sgd_of(network: nn.Module, rate: float, iterations: int) -> Descent:
    """Return plain SGD over a network's parameters, and a learning rate that falls to zero."""
    optimizer = torch.optim.SGD(network.parameters(), lr=rate)
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)


def train_corrected(
    network: nn.Module,
    loss_of: Loss,
    parts: Iterable[tuple[Tensor, Tensor]],
    correction: Weights,
    descent: Descent,
) -> dict[str, Tensor]:
    """Train a network in place along g(y) + correction, one step for each part; return the mean of all g(y)."""
    optimizer, schedule = descent
    total, steps = {name: torch.zeros_like(value) for name, value in parameters_of(network).items()}, 0
    for images, masks in parts:
        optimizer.zero_grad()
        torch.autograd.backward(loss_of(network(images), masks))
        for name, value in network.named_parameters():
            assert value.grad is not None
            total[name] += value.grad
            value.grad += correction[name]
        optimizer.step()
        schedule.step()
        steps += 1
    return {name: value / steps for name, value in total.items()}


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the broadcast segmenter along corrected gradients, and renew the site's variate."""
    network = build_segmenter(setting)
    network.load_state_dict(dict(down.segmenter))
    correction = {name: torch.zeros_like(value) for name, value in parameters_of(network).items()}
    before, made = vault.get("control"), vault.get("step")
    if config.correct and before and made and int(made["step"]) == arrival.step:
        correction = {name: down.control[name] - value for name, value in before.items()}
    images, masks = slices_of(arrival.cases)
    iterations = setting.budget.iterations_a_round(len(images))
    network.train()
    own = train_corrected(
        network,
        segmentation_loss,
        minibatches(setting, images, masks, iterations, arrival.seed),
        correction,
        sgd_of(network, config.rate, iterations),
    )
    vault.keep("control", own)
    vault.keep("step", {"step": torch.tensor(arrival.step)})
    return Upload(segmenter=dict(network.state_dict()), control=own, cases=torch.tensor([len(arrival.cases)]))


def blank_control(setting: Setting) -> dict[str, Tensor]:
    """Return a variate on torch's meta device."""
    with torch.device("meta"):
        return parameters_of(build_segmenter(setting))


STRATEGY = Strategy(
    family="federated",
    config=Config,
    server=ScaffoldServer,
    learn=learn,
    blank_broadcast=lambda config, setting: Broadcast(
        segmenter=blank_segmenter(setting), control=blank_control(setting)
    ),
    blank_upload=lambda config, setting, first: Upload(
        segmenter=blank_segmenter(setting),
        control=blank_control(setting),
        cases=torch.zeros(1, dtype=torch.int64, device="meta"),
    ),
    blank_vault=lambda config, setting: {
        "control": blank_control(setting),
        "step": {"step": torch.zeros((), dtype=torch.int64, device="meta")},
    },
    sums=summed_by_cases,
)
