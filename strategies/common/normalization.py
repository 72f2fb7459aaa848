"""Whose running statistics batch norm has: methods that hold on to weights need these held as well.

The running mean and variance are no parameters, so no penalty reaches them. Where they follow the newest site, an
earlier site's features are normalised by another scanner's statistics, and weights that were held are of no use to it.
"""

from __future__ import annotations

from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

# "first": those of the sites that first learnt, for good; "newest": those of the newest site, as in fine-tuning.
Statistics = Literal["first", "newest"]


def set_training(network: nn.Module, *, keep_statistics: bool) -> None:
    """Put a network in training mode; with `keep_statistics` its batch norms use the statistics they have."""
    network.train()
    for module in network.modules():
        if keep_statistics and isinstance(module, _BatchNorm):
            module.eval()
