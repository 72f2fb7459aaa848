"""A server that says it merely sums learns the same from the mean of a group's uploads as from each of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sites.aggregation import encoded, masked_manifest, mean_of
from sites.wire import Payload, leaves_of, manifest_of, unpack
from strategies import known, load
from strategies.setting import Setting

CASES = {"A": 4, "B": 20, "C": 7}


def summing() -> list[tuple[str, dict[str, Any]]]:
    found = [(name, {}) for name in known() if load(name).sums(load(name).config()) is not None]
    return [*found, ("fedavg", {"weighting": "uniform"})]


def random_upload(blank: Payload, cases: int, seed: int) -> Payload:
    """An upload with values of either sign, counters, and a number of cases."""
    draws = torch.Generator().manual_seed(seed)
    packed = {}
    for leaf in manifest_of(blank):
        value: Tensor = torch.randn(leaf.shape, generator=draws)
        whole = torch.randint(0, 1000, leaf.shape, generator=draws) if leaf.key != "cases" else torch.tensor([cases])
        packed[leaf.key] = (value if leaf.dtype == "float32" else whole).numpy().tobytes()
    return unpack(blank, manifest_of(blank), packed)


@pytest.mark.parametrize(("name", "settings"), summing(), ids=str)
def test_one_upload_stands_for_all(name: str, settings: dict[str, Any], plain: Setting) -> None:
    strategy = load(name)
    config = strategy.config(**settings)
    blank = strategy.blank_upload(config, plain, True)
    manifest, weight = manifest_of(blank), strategy.sums(config).weight
    apart, together = strategy.server(config, plain), strategy.server(config, plain)
    for step in (1, 2):
        uploads = {
            site: random_upload(blank, cases, 10 * step + row) for row, (site, cases) in enumerate(CASES.items())
        }
        bare = [
            unpack(blank, masked_manifest(manifest), {key: part.tobytes() for key, part in words.items()})
            for words in (encoded(upload, manifest, weight, len(CASES)) for upload in uploads.values())
        ]
        mean = mean_of(bare, blank, manifest, weight)
        assert weight is None or int(leaves_of(mean)[weight]) == sum(CASES.values())
        apart.absorb(uploads, step)
        together.absorb({"A + B + C": mean}, step)
    found, expected = together.state_dict(), apart.state_dict()
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-7, msg=lambda text, key=key: f"{key}: {text}")


def test_a_count_that_weighs_is_a_single_one(plain: Setting) -> None:
    for name, settings in summing():
        strategy = load(name)
        config = strategy.config(**settings)
        weight = strategy.sums(config).weight
        leaves = {leaf.key: leaf for leaf in manifest_of(strategy.blank_upload(config, plain, True))}
        assert weight is None or (leaves[weight].shape, leaves[weight].dtype) == ((1,), "int64")
