"""Averages of weights that several sites released."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sites.wire import Weights


def weighted_average(weights: Sequence[Weights], shares: Sequence[float]) -> dict[str, torch.Tensor]:
    """Return the average of same-named tensors, each model counting in proportion to its share.

    Sums run in double precision and in the given order, so that they do not depend on who replied first;
    integer tensors (a batch norm's counter) are averaged and rounded.
    """
    total = sum(shares)
    averaged = {}
    for name, first in weights[0].items():
        mean = sum((model[name].double() * (share / total) for model, share in zip(weights, shares, strict=True)))
        assert isinstance(mean, torch.Tensor)
        averaged[name] = (mean if first.is_floating_point() else mean.round()).to(first.dtype)
    return averaged
