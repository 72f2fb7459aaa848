"""Hold a generator's images to their masks: a segmenter that never leaves the site must find the mask in the image.

Ours. At each step of its training the generator is asked for the clean image of a pair; a segmenter that knows the site
reads it, and how far it is from the mask of the pair is added to the loss. The segmenter itself does not change.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from strategies.common.denoising import noise_scheduler
from strategies.common.diffusion import Generator
from strategies.common.segmenter import segmentation_loss

LEAST_KEPT = 0.5


class Consistency:
    """Asks a segmenter for the masks of the images that a generator predicts.

    weight: of this loss beside that of denoising. Images of which noise leaves less than half the variance are not
    read: what is predicted of them is a mean over many images, in which no mask lies.
    """

    def __init__(self, segmenter: nn.Module, weight: float) -> None:
        self._segmenter = segmenter.eval().requires_grad_(False)
        self._weight = weight
        self._kept = noise_scheduler().alphas_cumprod

    def __call__(
        self, generator: Generator, pairs: Tensor, noisy: Tensor, image_time: Tensor, answer: Tensor
    ) -> Tensor:
        """Return the loss of folded pairs, shown as `noisy` at `image_time` and answered by their velocities."""
        kept = self._kept[image_time]
        rows = kept > LEAST_KEPT
        if not rows.any():
            return torch.zeros(())
        share = kept[rows].view(-1, 1, 1, 1)
        images, _ = generator.unfold(share.sqrt() * noisy[rows] - (1 - share).sqrt() * answer[rows])
        _, masks = generator.unfold(pairs[rows])
        loss: Tensor = self._weight * rows.float().mean() * segmentation_loss(self._segmenter(images), masks.float())
        return loss
