"""FedAdam: the server's steps are those of Adam by hand."""

from __future__ import annotations

import torch

from strategies.fedadam import Config, FedAdamServer, Upload
from strategies.setting import Setting


def test_two_steps_by_hand(plain: Setting) -> None:
    config = Config(rate=0.1, betas=(0.9, 0.99), floor=1e-3)
    server = FedAdamServer(config, plain)
    name = next(name for name, _ in server.predictor("A").named_parameters())
    expected = server.predictor("A").state_dict()[name].clone()
    first, second = torch.zeros_like(expected), torch.full_like(expected, 1e-6)
    for change in (0.5, -0.2):
        weights = {key: value.clone() for key, value in server.broadcast("A", 1).segmenter.items()}
        one = {**weights, name: weights[name] + change}
        other = {**weights, name: weights[name] - change}
        server.absorb(
            {
                "A": Upload(segmenter=one, cases=torch.tensor([3])),
                "B": Upload(segmenter=other, cases=torch.tensor([1])),
            },
            1,
        )
        mean = 0.75 * change - 0.25 * change
        first = 0.9 * first + 0.1 * mean
        second = 0.99 * second + 0.01 * mean**2
        expected = expected + 0.1 * first / (second.sqrt() + 1e-3)
        torch.testing.assert_close(server.predictor("A").state_dict()[name], expected)


def test_without_it_the_average_stands(plain: Setting) -> None:
    server = FedAdamServer(Config(adaptive=False), plain)
    weights = {name: value + 1 for name, value in server.broadcast("A", 1).segmenter.items()}
    server.absorb({"A": Upload(segmenter=weights, cases=torch.tensor([5]))}, 1)
    for name, value in server.predictor("A").state_dict().items():
        torch.testing.assert_close(value, weights[name])


def test_its_moments_are_resumed(plain: Setting) -> None:
    server, again = FedAdamServer(Config(), plain), FedAdamServer(Config(), plain)
    weights = {name: value + 1 for name, value in server.broadcast("A", 1).segmenter.items()}
    upload = Upload(segmenter=weights, cases=torch.tensor([5]))
    server.absorb({"A": upload}, 1)
    again.load_state_dict(server.state_dict())
    for one in (server, again):
        one.absorb({"A": upload}, 2)
    for name, value in server.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
