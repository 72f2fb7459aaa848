"""SCAFFOLD: federated averaging whose sites correct their gradients by control variates.

Karimireddy et al., "SCAFFOLD: Stochastic Controlled Averaging for Federated Learning", ICML 2020, algorithm 1: a site
steps along g_i(y) - c_i + c, and renews c_i by option I, its mean gradient at the broadcast segmenter x; c is the mean
of all c_i. What is adapted to arrival schedules: variates are those of one step, since who is online changes with it,
so that the first round of a step is uncorrected (give the budget several rounds); sites weigh by cases in both means;
the corrected gradient goes to AdamW, as every strategy's does. A site's c_i is in its vault. With `correct: false` this
is federated averaging.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
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
    descent_of,
    minibatches,
    segmentation_loss,
    slices_of,
)
from strategies.common.state import part_of
from strategies.setting import Setting

Loss = Callable[[Tensor, Tensor], Tensor]


class Config(StrategyConfig):
    """Settings of SCAFFOLD. correct: whether gradients are corrected."""

    correct: bool = True


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


def mean_gradient(network: nn.Module, loss_of: Loss, parts: Iterable[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Return the gradient of a mean loss over all that the parts hold, each counting by its rows (option I)."""
    parameters = dict(network.named_parameters())
    total, rows = {name: torch.zeros_like(value) for name, value in parameters.items()}, 0
    for images, masks in parts:
        gradients = torch.autograd.grad(loss_of(network(images), masks), list(parameters.values()))
        for part, gradient in zip(total.values(), gradients, strict=True):
            part.add_(len(images) * gradient)
        rows += len(images)
    return {name: value / rows for name, value in total.items()}


def train_corrected(
    network: nn.Module,
    loss_of: Loss,
    parts: Iterable[tuple[Tensor, Tensor]],
    correction: Weights,
    descent: Descent,
) -> None:
    """Train a network in place along g(y) + correction, one step for each part."""
    optimizer, schedule = descent
    for images, masks in parts:
        optimizer.zero_grad()
        torch.autograd.backward(loss_of(network(images), masks))
        for name, value in network.named_parameters():
            assert value.grad is not None
            value.grad += correction[name]
        optimizer.step()
        schedule.step()


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the broadcast segmenter along corrected gradients, and renew the site's variate."""
    network, still = build_segmenter(setting), build_segmenter(setting)
    network.load_state_dict(dict(down.segmenter))
    still.load_state_dict(dict(down.segmenter))
    images, masks = slices_of(arrival.cases)
    batch = setting.budget.batch
    parts = zip(torch.split(images, batch), torch.split(masks.float(), batch), strict=True)
    own = mean_gradient(still, segmentation_loss, parts)
    correction = {name: torch.zeros_like(value) for name, value in own.items()}
    before, made = vault.get("control"), vault.get("step")
    if config.correct and before and made and int(made["step"]) == arrival.step:
        correction = {name: down.control[name] - value for name, value in before.items()}
    vault.keep("control", own)
    vault.keep("step", {"step": torch.tensor(arrival.step)})
    iterations = setting.budget.iterations_a_round(len(images))
    network.train()
    train_corrected(
        network,
        segmentation_loss,
        minibatches(setting, images, masks, iterations, arrival.seed),
        correction,
        descent_of(network, setting, iterations),
    )
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
