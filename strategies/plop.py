"""PLOP's pooled distillation: the segmenter's inner features, pooled at several scales, must stay as they were.

Douillard et al., "PLOP: Learning without Forgetting for Continual Semantic Segmentation", CVPR 2021:

    L(theta) = L_new(theta) + strength * mean over layers l of || Phi(f_l,theta(x)) - Phi(f_l,old(x)) ||^2

Phi cuts a feature map into 2^s x 2^s regions for s = 0, 1, ... and takes, in each, its mean over the width and its mean
over the height. The layers are all blocks of the U-Net, and its logits. The square is taken as a mean over the entries
of Phi, so that one strength fits layers of any size.

What is adapted: PLOP was made for classes that come one after another, and lets the old model relabel the background.
Here the structures are the same at every site and labelled in every slice, so there is nothing to relabel: the
pseudo-labels are left out. Both segmenters read an image with the batch's own norm statistics: with an earlier
scanner's, the old one's features would be those of no image it was made for. Nothing but the segmenter leaves a site.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import ADN
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from sites.stream import Arrival
from sites.vault import Vault
from strategies import Strategy
from strategies.common.segmenter import (
    build_segmenter,
    descend,
    descent_of,
    minibatches,
    segmentation_loss,
    slices_of,
)
from strategies.common.teacher import Broadcast, TeacherConfig, TeacherServer, Upload, blank_broadcast, blank_upload
from strategies.setting import Setting


class Config(TeacherConfig):
    """Settings of PLOP.

    strength: of the distillation; scales: the number of scales of Phi; statistics: whose running statistics batch
    norm has. Strength 0 with the newest site's statistics is fine-tuning.
    """

    strength: float = Field(default=1.0, ge=0)
    scales: int = Field(default=3, ge=1, le=5)


class Features:
    """Reads off what each block of a segmenter puts out: MONAI's U-Net ends every block in its activation."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._found: list[Tensor] = []
        for module in network.modules():
            if isinstance(module, ADN):
                module.register_forward_hook(lambda module, inputs, output: self._found.append(output))

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps [N, C, H, W] of every block, and the logits last."""
        self._found.clear()
        logits = self._network(images)
        return [*self._found, logits]


def pooled(features: Tensor, scales: int) -> Tensor:
    """Return Phi of feature maps [N, C, H, W]: [N, entries]; a scale that cuts finer than the map is left out."""
    strips = []
    for scale in range(scales):
        cuts = 2**scale
        if cuts > min(features.shape[-2:]):
            break
        for rows in features.tensor_split(cuts, dim=-2):
            for region in rows.tensor_split(cuts, dim=-1):
                strips += [region.mean(dim=-1).flatten(1), region.mean(dim=-2).flatten(1)]
    return torch.cat(strips, dim=1)


def local_pod(new: Sequence[Tensor], old: Sequence[Tensor], scales: int) -> Tensor:
    """Return the distillation loss between two segmenters' feature maps, layer by layer."""
    return torch.stack([mse_loss(pooled(n, scales), pooled(o, scales)) for n, o in zip(new, old, strict=True)]).mean()


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the segmenter on the current cases, its features held to those of the old one."""
    network, old = build_segmenter(setting), build_segmenter(setting)
    network.load_state_dict(dict(down.segmenter))
    old.load_state_dict(dict(down.old))
    learnt = bool(down.learnt)
    images, masks = slices_of(arrival.cases)
    iterations = setting.budget.iterations_a_round(len(images))
    descent = descent_of(network, setting, iterations)
    features, old_features = Features(network), Features(old)
    network.train()
    old.train()
    for some, their_masks in minibatches(setting, images, masks, iterations, arrival.seed):
        found = features(some)
        loss = segmentation_loss(found[-1], their_masks)
        if learnt and config.strength:
            with torch.no_grad():
                before = old_features(some)
            loss = loss + config.strength * local_pod(found, before, config.scales)
        descend(loss, descent)
    return Upload(segmenter=dict(network.state_dict()))


STRATEGY = Strategy(
    family="continual",
    config=Config,
    server=TeacherServer,
    learn=learn,
    blank_broadcast=blank_broadcast,
    blank_upload=blank_upload,
)
