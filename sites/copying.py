"""The copy test: does a generated image lie closer to a training image than two patients of a site ever do.

After Dar et al., "Unconditional latent diffusion models memorize patient imaging data", arXiv 2402.01054: an image
counts as copied where its correlation with a generated one is above the 95th percentile of the training images'
correlations with their nearest validation image. They correlate learnt embeddings; here it is the pixels, less the
site's mean image, since the anatomy that all patients share is nobody's secret. A copy that was moved a little is still
one: of a generated image, the best of many places counts.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad

PERCENTILE = 0.95
REACH = 1 / 16


class CopyTest:
    """Tells which images of a site generated ones copy.

    trained, held_out: the site's images float32 [N, C, H, W] in 0..1 that were trained on, and others of its own.
    `threshold` is the correlation above which an image counts as copied.
    """

    def __init__(self, trained: Tensor, held_out: Tensor) -> None:
        self._usual = _centred(torch.cat([trained, held_out])).mean(0)
        self._trained, self._held_out = self._unit(trained), self._unit(held_out)
        self.threshold = float(torch.quantile(self._nearest(self._trained, held_out), PERCENTILE))

    def copied(self, made: Tensor) -> Tensor:
        """Return which training images the generated images [M, C, H, W] copy: bool [N]."""
        return self._nearest(self._trained, made) > self.threshold

    def copied_held_out(self, made: Tensor) -> Tensor:
        """Return which held-out images count as copied, bool [N]: nobody could copy those, so it is chance."""
        return self._nearest(self._held_out, made) > self.threshold

    def _nearest(self, own: Tensor, others: Tensor) -> Tensor:
        """Return the correlation [N] of each row with the nearest of other images [M, C, H, W], in its best place."""
        return torch.stack([(own @ self._unit(moved).T).amax(1) for moved in places(others)]).amax(0)

    def _unit(self, images: Tensor) -> Tensor:
        """Return images less the usual one as rows of mean 0 and length 1, so that a product is a correlation."""
        return _normal(_centred(images) - self._usual)


def places(images: Tensor) -> Iterator[Tensor]:
    """Yield images [N, C, H, W] moved by each number of whole pixels up to a sixteenth of their shorter side, each way.

    Edges are repeated.
    """
    height, width = images.shape[-2:]
    pixels = round(REACH * min(height, width))
    padded = pad(images, (pixels,) * 4, mode="replicate")
    for top in range(2 * pixels + 1):
        for left in range(2 * pixels + 1):
            yield padded[..., top : top + height, left : left + width]


def _centred(images: Tensor) -> Tensor:
    """Return images as rows of mean 0 and length 1, so that brightness and contrast play no part."""
    return _normal(images.flatten(1) - images.flatten(1).mean(1, keepdim=True))


def _normal(rows: Tensor) -> Tensor:
    unit: Tensor = rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return unit
