"""A generator's weights from before any site: learnt on pictures that belong to none, and fitted to any shape."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load
from torch import Tensor

from sites.stream import Shape
from strategies.common.colour import for_opponent, to_opponent

BACKBONE = Path(__file__).with_name("backbone.safetensors")
CHANNELS, STRUCTURES = 3, 2


def procedural_weights(shape: Shape, fold: int, *, opponent: bool = False) -> dict[str, Tensor]:
    """Return the weights of a generator for a shape; `fold` is the number of pixels folded into channels.

    opponent: for three channels, of opponent colours in place of red, green and blue

    The backbone has learnt three colour channels and two structures, and copies of one another among either. Where a
    shape has fewer, those it lacks are such copies, so this is exact: weights into the network add up, predictions
    of copies are one. Where a shape has more, the further ones begin as copies.
    """
    weights = {name: value.float() for name, value in load(BACKBONE.read_bytes()).items()}
    shares = [
        *_shares(CHANNELS, shape.channels, offset=0),
        *_shares(STRUCTURES, len(shape.structures), offset=CHANNELS),
    ]
    into, out, bias = (weights[f"unet.{name}"] for name in ("conv_in.weight", "conv_out.weight", "conv_out.bias"))
    weights["unet.conv_in.weight"] = torch.cat(
        [_mixed(into, share, fold, 1) * sum(share.values()) for share in shares], 1
    )
    weights["unet.conv_out.weight"] = torch.cat([_mixed(out, share, fold, 0) for share in shares])
    weights["unet.conv_out.bias"] = torch.cat([_mixed(bias, share, fold, 0) for share in shares])
    if opponent:
        turns = {
            "conv_in.weight": (for_opponent, 1),
            "conv_out.weight": (to_opponent, 0),
            "conv_out.bias": (to_opponent, 0),
        }
        for name, (turn, dim) in turns.items():
            images, masks = weights[f"unet.{name}"].tensor_split([CHANNELS * fold], dim)
            turned = turn(images.unflatten(dim, (CHANNELS, fold)), dim).flatten(dim, dim + 1)
            weights[f"unet.{name}"] = torch.cat([turned, masks], dim)
    return weights


def _shares(learnt: int, wanted: int, offset: int) -> Sequence[dict[int, float]]:
    """Say for each wanted channel which learnt ones stand for it, and with what weight each goes in."""
    if wanted <= learnt:
        return [
            {offset + row: 1.0 for row in range(learnt) if row * wanted // learnt == place} for place in range(wanted)
        ]
    users = [sum(place % learnt == row for place in range(wanted)) for row in range(learnt)]
    return [{offset + place % learnt: 1.0 / users[place % learnt]} for place in range(wanted)]


def _mixed(values: Tensor, share: dict[int, float], fold: int, dim: int) -> Tensor:
    """Return the mean of some channels, each `fold` wide along `dim`."""
    return torch.stack([values.narrow(dim, row * fold, fold) for row in share]).mean(0)
