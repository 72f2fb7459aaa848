"""How much each parameter matters to what was learnt before, and the penalty that holds it there (EWC, SI, MAS).

All of it concerns parameters alone; for the running statistics of batch norm see `normalization.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sites.wire import Weights
from strategies import State
from strategies.common.segmenter import build_segmenter
from strategies.setting import Setting


def parameters_of(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a network's parameters by name, without its buffers."""
    return {name: value.detach().clone() for name, value in network.named_parameters()}


def no_importance(network: nn.Module) -> dict[str, Tensor]:
    """Return zeros in the form of a network's parameters."""
    return {name: torch.zeros_like(value) for name, value in network.named_parameters()}


def blank_parameters(setting: Setting) -> dict[str, Tensor]:
    """Return the segmenter's parameters on torch's meta device: names, dtypes and shapes without values."""
    with torch.device("meta"):
        return parameters_of(build_segmenter(setting))


def quadratic(network: nn.Module, anchor: Weights, importance: Weights) -> Tensor:
    """Return sum_i importance_i (theta_i - anchor_i)^2 over all parameters."""
    terms = [(importance[name] * (value - anchor[name]).square()).sum() for name, value in network.named_parameters()]
    return torch.stack(terms).sum()


class Anchor:
    """Where parameters are held, `weights`, and how firmly, `importance`; the server keeps it between sites."""

    def __init__(self, network: nn.Module) -> None:
        self.weights = parameters_of(network)
        self.importance = no_importance(network)

    def state_dict(self) -> State:
        """Return both, for a run that resumes."""
        return {
            **{f"anchor/{name}": value for name, value in self.weights.items()},
            **{f"importance/{name}": value for name, value in self.importance.items()},
        }

    def load_state_dict(self, state: State) -> None:
        """Take back what `state_dict` returned, out of a state that may hold more."""
        self.weights = {name: state[f"anchor/{name}"] for name in self.weights}
        self.importance = {name: state[f"importance/{name}"] for name in self.importance}
