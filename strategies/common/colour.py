"""Colours as diffusion should see them: lightness, and two differences of channels that are drawn out to be as wide.

Red, green and blue of a photograph rise and fall together. Noise that is drawn for each by itself buries what little
they differ by, and replays get a grain of false colours. The axes are those of opponent colours (Ohta, Kanade & Sakai,
Computer Graphics and Image Processing, 1980) at length one, so that noise stays independent; a difference is then WIDER
times what it was.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

WIDER = 4.0


def to_opponent(values: Tensor, dim: int = 1) -> Tensor:
    """Turn red, green and blue, along one axis, into lightness, red less green, and both less blue."""
    return _mixed(_matrix(), values, dim)


def from_opponent(values: Tensor, dim: int = 1) -> Tensor:
    """Undo `to_opponent`."""
    return _mixed(_matrix().inverse(), values, dim)


def for_opponent(weights: Tensor, dim: int = 1) -> Tensor:
    """Return weights that do to opponent colours what those given did to red, green and blue."""
    return _mixed(_matrix().inverse().T, weights, dim)


def _matrix() -> Tensor:
    axes = normalize(torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, 0.0], [1.0, 1.0, -2.0]]))
    return axes * torch.tensor([[1.0], [WIDER], [WIDER]])


def _mixed(matrix: Tensor, values: Tensor, dim: int) -> Tensor:
    mixed: Tensor = torch.tensordot(matrix, values, dims=([1], [dim]))
    return mixed.movedim(0, dim)
