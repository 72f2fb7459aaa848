"""Training by DP-SGD, for a site whose policy asks for it: Opacus clips each patient's gradient and takes the step.

The gradients of single patients come from torch.func, as Opacus allows (its grad sample mode `no_op`): any network will
do that treats the rows of a batch one by one. Batch norm does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from sites.privacy import Session

# Of one patient: arguments are the patient's rows of what `batch` made.
Loss = Callable[..., Tensor]


class SecretNoiseOptimizer(DPOptimizer):  # type: ignore[misc]
    """Opacus's optimizer with the noise of a site's secret instead of torch's generator."""

    def __init__(self, optimizer: torch.optim.Optimizer, session: Session) -> None:
        super().__init__(
            optimizer,
            noise_multiplier=session.policy.noise_multiplier,
            max_grad_norm=session.policy.max_grad_norm,
            expected_batch_size=session.expected,
        )
        self._session = session

    def add_noise(self) -> None:
        for parameter in self.params:
            parameter.grad = parameter.summed_grad + self._session.noise(parameter.shape)


def descend_privately(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Loss,
    batch: Callable[[Tensor], tuple[Tensor, ...]],
    session: Session,
) -> Iterator[None]:
    """Take a session's private gradient steps on the parameters that require a gradient; yield after each.

    loss: of one patient, given a function that stands for the network, and that patient's rows of `batch`
    batch: what the loss needs of some slices, given their rows: tensors whose first dimension is the patients'. What
        is random in it must not depend on who else was drawn
    """
    weights = {name: value for name, value in network.named_parameters() if value.requires_grad}

    def of_one(values: Mapping[str, Tensor], *rows: Tensor) -> Tensor:
        return loss(lambda *inputs: functional_call(network, dict(values), inputs), *rows)

    private = SecretNoiseOptimizer(optimizer, session)
    for rows in session.rows():
        private.zero_grad()
        gradients = {name: value.new_zeros(0, *value.shape) for name, value in weights.items()}
        if len(rows):
            inputs = batch(rows)
            every = vmap(grad(of_one), in_dims=(None, *(0 for _ in inputs)), randomness="different")
            gradients = every({name: value.detach() for name, value in weights.items()}, *inputs)
        for name, value in weights.items():
            value.grad_sample = gradients[name]  # type: ignore[attr-defined]
        private.step()
        yield
