"""Whose running statistics batch norm has: a method that holds on to weights needs these held as well.

A running mean and variance is no parameter, so no penalty reaches it. Where it follows the newest site, the features of
an earlier one are normalised by another scanner's statistics, and the weights that were held are of no use to it. With
"own", a site that was seen keeps the statistics it left (as in Karani et al., "A Lifelong Learning Approach to Brain MR
Segmentation Across Scanners and Protocols", MICCAI 2018), and an unseen one is given those of all seen sites, pooled.
So the site of an image must be known. They leave with the segmenter either way: nothing more is released.
"""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from sites.wire import Weights
from strategies import State
from strategies.common.state import part_of
from strategies.setting import Setting

# "newest": all sites share those of the newest, as in fine-tuning.
Statistics = Literal["own", "newest"]

MEAN, VARIANCE = "running_mean", "running_var"


class SiteStatistics:
    """The running statistics that each site left, and the segmenter of each with them."""

    def __init__(self, network: nn.Module, setting: Setting, statistics: Statistics) -> None:
        self._network = network
        self._sites = setting.sites
        self._own = statistics == "own"
        self._buffers = [name for name, _ in network.named_buffers()]
        self._means = [name for name in self._buffers if name.endswith(MEAN)]
        self._kept: dict[str, dict[str, Tensor]] = {}
        self._views: dict[str, nn.Module] = {}

    def keep(self, site: str, segmenter: Weights) -> None:
        """Keep the running statistics of a segmenter that a site released."""
        self._kept[site] = {name: segmenter[name].clone() for name in self._buffers}

    def segmenter_for(self, site: str) -> nn.Module:
        """Return the network as it stands, with the statistics of a site, or of all seen ones for an unseen site."""
        if not (self._own and self._means and self._kept):
            return self._network
        view = self._views.setdefault(site if site in self._kept else "", copy.deepcopy(self._network))
        found = self._kept[site] if site in self._kept else self._pooled()
        view.load_state_dict({**self._network.state_dict(), **found})
        return view

    def _pooled(self) -> dict[str, Tensor]:
        """Return the statistics of a mixture in which every seen site has the same share."""
        found = {}
        for name in self._means:
            means = torch.stack([kept[name] for kept in self._kept.values()])
            variances = torch.stack([kept[_variance(name)] for kept in self._kept.values()])
            found[name] = means.mean(dim=0)
            found[_variance(name)] = variances.mean(dim=0) + means.var(dim=0, correction=0)
        return found

    def state_dict(self) -> State:
        """Return what was kept, for a run that resumes."""
        return {f"statistics/{site}/{name}": value for site, kept in self._kept.items() for name, value in kept.items()}

    def load_state_dict(self, state: State) -> None:
        """Take back what `state_dict` returned, out of a state that may hold more."""
        self._kept = {}
        for site in self._sites:
            prefix = f"statistics/{site}/"
            kept = part_of(state, prefix)
            if kept:
                self._kept[site] = kept


def _variance(mean: str) -> str:
    return mean.removesuffix(MEAN) + VARIANCE
