"""RandConv: shapes are kept, textures change, masks are never touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sites.stream import Arrival
from sites.vault import Vault
from strategies.common.relay import Broadcast
from strategies.common.segmenter import build_segmenter, slices_of, train_on_arrival
from strategies.randconv import Config, convolved, learn
from strategies.setting import Setting


@pytest.mark.parametrize("size", [1, 3, 7])
def test_it_keeps_shape_and_place(size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.zeros(2, 3, 21, 21)
    image[:, :, 10, 10] = 1.0
    found = convolved(image, Config(share=1.0, sizes=(size,)), generator)
    assert found.shape == image.shape
    rows = found.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    assert rows.min() == 10 - size // 2
    assert rows.max() == 10 + size // 2


def test_it_keeps_the_scale_of_the_image_on_average() -> None:
    generator = torch.Generator().manual_seed(0)
    image, config = torch.randn(1, 1, 32, 32, generator=generator), Config(share=1.0, mix=False)
    energy = [float(convolved(image, config, generator).square().mean()) for _ in range(400)]
    assert abs(sum(energy) / 400 - 1) < 0.15


def test_masks_stay_and_a_share_of_none_is_fine_tuning(
    plain: Setting, disc: Callable[..., Arrival], tmp_path: Path
) -> None:
    arrival, down = disc(), Broadcast(segmenter=build_segmenter(plain).state_dict())
    before = slices_of(arrival.cases)[1].clone()
    learn(Config(share=1.0), plain, down, arrival, Vault(tmp_path, 1))
    assert torch.equal(slices_of(arrival.cases)[1], before)
    off = learn(Config(share=0.0), plain, down, arrival, Vault(tmp_path, 1)).segmenter
    for name, value in train_on_arrival(down.segmenter, plain, arrival).items():
        assert torch.equal(off[name], value)
