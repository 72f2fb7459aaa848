"""BigAug: a deep stack of strong augmentations, each applied to half of the slices.

Zhang et al., "Generalizing Deep Learning for Medical Image Segmentation to Unseen Domains via Deep Stacked
Transformation", IEEE TMI 2020: nine transforms of quality (sharpness, blur, noise), appearance (brightness, contrast,
perturbation) and pose (rotation, scaling, deformation), in this order, each with probability .5. The transforms are
MONAI's, their ranges set for images in 0..1. It needs one site alone, and comes on top of the schedule's own
`augmentation`. The segmenter goes from site to site; with `probability: 0` this is fine-tuning.
"""

from __future__ import annotations

from typing import Any

import torch
from monai.transforms import (
    Compose,
    Rand2DElasticd,
    RandAdjustContrastd,
    RandAffined,
    RandGaussianNoised,
    RandGaussianSharpend,
    RandGaussianSmoothd,
    RandScaleIntensityd,
    RandShiftIntensityd,
)
from pydantic import Field
from torch import Tensor

from sites.stream import Arrival
from sites.vault import Vault
from strategies import Strategy, StrategyConfig
from strategies.common.relay import Broadcast, RelayServer, Upload, blank_broadcast, blank_upload
from strategies.common.segmenter import (
    build_segmenter,
    descend,
    descent_of,
    minibatches,
    segmentation_loss,
    slices_of,
)
from strategies.setting import Setting


class Config(StrategyConfig):
    """Settings of BigAug. probability: with which each of the nine transforms is applied to a slice."""

    probability: float = Field(default=0.3, ge=0, le=1)


class Stack:
    """The nine transforms of slices with their masks, drawn from a seed."""

    def __init__(self, config: Config, seed: int) -> None:
        image: dict[str, Any] = {"keys": "image", "prob": config.probability}
        both: dict[str, Any] = {
            "keys": ("image", "mask"),
            "prob": config.probability,
            "mode": ("bilinear", "nearest"),
            "padding_mode": "border",
        }
        self._transforms = Compose(
            [
                RandGaussianSharpend(**image, alpha=(1.0, 3.0)),
                RandGaussianSmoothd(**image, sigma_x=(0.25, 1.5), sigma_y=(0.25, 1.5)),
                RandGaussianNoised(**image, std=0.1),
                RandShiftIntensityd(**image, offsets=0.1),
                RandAdjustContrastd(**image, gamma=(0.5, 4.5)),
                RandScaleIntensityd(**image, factors=0.1),
                RandAffined(**both, rotate_range=0.35),
                RandAffined(**both, scale_range=0.4),
                Rand2DElasticd(**both, spacing=(16, 16), magnitude_range=(0.0, 2.0)),
            ]
        )
        self._transforms.set_random_state(seed=seed % 2**32)

    def __call__(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Return changed copies: images float32 [N, C, H, W] in 0..1 and masks float32 [N, S, H, W] of 0 and 1."""
        changed = [self._transforms({"image": one, "mask": two}) for one, two in zip(images, masks, strict=True)]
        pictures, labels = (
            torch.stack([torch.as_tensor(one[key]).as_subclass(Tensor) for one in changed]) for key in ("image", "mask")
        )
        return pictures.clamp(0, 1).float(), labels


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the segmenter on the site's current slices, strongly changed."""
    network = build_segmenter(setting)
    network.load_state_dict(dict(down.segmenter))
    images, masks = slices_of(arrival.cases)
    iterations = setting.budget.iterations_a_round(len(images))
    descent, stack = descent_of(network, setting, iterations), Stack(config, arrival.seed)
    network.train()
    for some, their_masks in minibatches(setting, images, masks, iterations, arrival.seed):
        pictures, labels = stack(some, their_masks)
        descend(segmentation_loss(network(pictures), labels), descent)
    return Upload(segmenter=dict(network.state_dict()))


STRATEGY = Strategy(
    family="generalization",
    config=Config,
    server=RelayServer,
    learn=learn,
    blank_broadcast=blank_broadcast,
    blank_upload=blank_upload,
)
