"""FedProx: the proximal term's gradient, and that it keeps a site near to where it began."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from sites.stream import Arrival
from sites.vault import Vault
from strategies.common.segmenter import build_segmenter, train_on_arrival
from strategies.fedprox import Broadcast, Config, learn, proximal
from strategies.setting import Setting


def test_the_gradient_of_the_proximal_term_is_mu_times_the_distance(plain: Setting) -> None:
    network = build_segmenter(plain)
    anchor = {name: value.detach() - 0.5 for name, value in network.named_parameters()}
    torch.autograd.backward(proximal(network, anchor, mu=0.2))
    for name, value in network.named_parameters():
        assert value.grad is not None
        torch.testing.assert_close(value.grad, 0.2 * (value.detach() - anchor[name]))


def test_without_mu_it_is_federated_averaging_and_with_much_of_it_a_site_stays(
    plain: Setting, disc: Callable[..., Arrival], tmp_path: Path
) -> None:
    down = Broadcast(segmenter=build_segmenter(plain).state_dict())

    def distance(mu: float) -> float:
        up = learn(Config(mu=mu), plain, down, disc(), Vault(tmp_path, 1))
        return sum(
            float((value - down.segmenter[name]).norm()) for name, value in up.segmenter.items() if value.ndim > 1
        )

    free = learn(Config(mu=0), plain, down, disc(), Vault(tmp_path, 1)).segmenter
    for name, value in train_on_arrival(down.segmenter, plain, disc()).items():
        assert torch.equal(free[name], value)
    assert distance(1000.0) < distance(0.0)
