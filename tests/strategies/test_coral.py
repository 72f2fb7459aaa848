"""CORAL: the distance of covariances, and where in the network it is taken."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from strategies.common.alignment import Batch
from strategies.common.segmenter import build_segmenter
from strategies.coral import Config, bottom_of, covariance_distance, train
from strategies.setting import NetworkConfig, Setting


def test_the_distance_is_the_frobenius_norm_of_the_difference_of_covariances() -> None:
    draws = np.random.default_rng(0)
    one, other = draws.normal(size=(50, 3)), draws.normal(size=(40, 3)) * [1, 2, 3]
    difference = np.cov(one, rowvar=False) - np.cov(other, rowvar=False)
    expected = np.linalg.norm(difference, "fro") ** 2 / (4 * 3**2)
    found = covariance_distance(torch.from_numpy(one), torch.from_numpy(other))
    np.testing.assert_allclose(float(found), expected)
    shifted = covariance_distance(torch.from_numpy(one), torch.from_numpy(one + 5))
    np.testing.assert_allclose(float(shifted), 0, atol=1e-12)


def test_features_come_from_the_bottom_of_the_network(plain: Setting) -> None:
    setting = replace(plain, network=NetworkConfig(widths=(4, 8, 16), residual_units=0))
    network = build_segmenter(setting)
    shapes: list[torch.Size] = []
    bottom_of(network).register_forward_hook(lambda module, inputs, output: shapes.append(output.shape))
    network(torch.rand(2, 1, 16, 16))
    assert shapes == [(2, 16, 4, 4)]


def test_training_draws_the_covariances_of_two_domains_together(plain: Setting) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, 1, 16, 16, generator=generator)
    masks = (images > 0.5).float()
    domains = [Batch(images, masks), Batch(images**4, masks)]

    def distance(weight: float) -> float:
        network = build_segmenter(plain).train()
        train(Config(weight=weight), network, plain, iter([list(domains)] * 20), 20)
        found: list[torch.Tensor] = []
        bottom_of(network).register_forward_hook(
            lambda module, inputs, output: found.append(output.transpose(0, 1).flatten(1).T.detach())
        )
        for batch in domains:
            network(batch.images)
        scale = torch.cat(found).var()
        return float(covariance_distance(*found) / scale**2)

    assert distance(100.0) < distance(0.0)
