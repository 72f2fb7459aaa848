"""Synaptic intelligence: each parameter is held by how much its own moves lowered the loss of earlier sites.

Zenke, Poole & Ganguli, "Continual Learning Through Synaptic Intelligence", ICML 2017, eqs. 3 to 5. Along the training
at a site, omega_i = -sum_t g_i(t) dtheta_i(t) is parameter i's share in the fall of that site's loss; then

    Omega_i = sum over sites of omega_i / (Delta_i^2 + damping)
    L(theta) = L_new(theta) + strength * sum_i Omega_i (theta_i - theta~_i)^2

with Delta_i how far the site moved the parameter, and theta~ where the last site left it. g is the gradient of the
segmentation loss alone, dtheta the step that the optimizer really took. A share below zero counts as zero, so that the
penalty has a lowest point. Over the rounds of a step a site adds up omega and Delta in its vault.

Omega leaves as a GRADIENT: it is made of the site's gradients, weighted by steps that can be told from the weights.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor, nn

from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Weights
from strategies import Strategy
from strategies.common.anchored import AnchoredConfig, AnchoredServer, Broadcast, Upload, blank_broadcast, blank_upload
from strategies.common.importance import blank_parameters, no_importance, parameters_of, quadratic
from strategies.common.segmenter import (
    build_segmenter,
    descend,
    descent_of,
    minibatches,
    segmentation_loss,
    slices_of,
)
from strategies.setting import Setting


class Config(AnchoredConfig):
    """Settings of SI.

    strength: c of the paper; damping: its xi; statistics: whose running statistics batch norm has
    Strength 0 with the newest site's statistics is fine-tuning.
    """

    strength: float = Field(default=10.0, ge=0)
    damping: float = Field(default=1e-3, gt=0)


class PathIntegral:
    """The path of a network's parameters through training: what each move gained (omega), and how far all led (Delta).

    Both go on from an earlier round's where there was one.
    """

    def __init__(self, network: nn.Module, earlier: Mapping[str, Tensor] | None = None) -> None:
        self._network = network
        held = earlier or {}
        self._gain = {name: held.get(f"gain/{name}", zero) for name, zero in no_importance(network).items()}
        self._way = {name: held.get(f"way/{name}", zero) for name, zero in no_importance(network).items()}

    def add(self, before: Mapping[str, Tensor], gradient: Mapping[str, Tensor]) -> None:
        """Add the step just taken: where the parameters were before it, and the loss's gradient there."""
        for name, value in self._network.named_parameters():
            move = value.detach() - before[name]
            self._gain[name] = self._gain[name] - gradient[name] * move
            self._way[name] = self._way[name] + move

    def importance(self, damping: float) -> dict[str, Tensor]:
        """Return Omega of this path."""
        return {name: gain.clamp(min=0) / (self._way[name].square() + damping) for name, gain in self._gain.items()}

    def tensors(self) -> dict[str, Tensor]:
        """Return all that a later round needs."""
        return {f"gain/{k}": v for k, v in self._gain.items()} | {f"way/{k}": v for k, v in self._way.items()}


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the segmenter on the current cases, held by what earlier sites need, and follow its path."""
    network = build_segmenter(setting)
    network.load_state_dict(dict(down.segmenter))
    images, masks = slices_of(arrival.cases)
    iterations = setting.budget.iterations_a_round(len(images))
    descent = descent_of(network, setting, iterations)
    path = PathIntegral(network, vault.get("path") if arrival.round > 1 else None)
    network.train()
    for some, their_masks in minibatches(setting, images, masks, iterations, arrival.seed):
        before = parameters_of(network)
        held = config.strength * quadratic(network, down.anchor, down.importance)
        descend(segmentation_loss(network(some), their_masks) + held, descent)
        path.add(before, loss_gradient(network, before, down, config.strength))
    if arrival.round < setting.budget.rounds:
        vault.keep("path", path.tensors())
        return Upload(segmenter=dict(network.state_dict()), importance=no_importance(network))
    vault.drop("path")
    return Upload(segmenter=dict(network.state_dict()), importance=path.importance(config.damping))


def loss_gradient(
    network: nn.Module, before: Mapping[str, Tensor], down: Broadcast, strength: float
) -> dict[str, Tensor]:
    """Return the segmentation loss's gradient of the last step: all of the gradient but the penalty's part."""
    found = {}
    for name, value in network.named_parameters():
        assert value.grad is not None
        found[name] = value.grad - 2 * strength * down.importance[name] * (before[name] - down.anchor[name])
    return found


def blank_vault(config: Config, setting: Setting) -> dict[str, Weights]:
    """Return what a site keeps from one round of a step to the next, without values."""
    path = {f"{what}/{name}": value for what in ("gain", "way") for name, value in blank_parameters(setting).items()}
    return {"path": path} if setting.budget.rounds > 1 else {}


STRATEGY = Strategy(
    family="continual",
    config=Config,
    server=AnchoredServer,
    learn=learn,
    blank_broadcast=blank_broadcast,
    blank_upload=blank_upload,
    blank_vault=blank_vault,
)
