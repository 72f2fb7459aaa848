"""The copy test: does a generated image lie closer to a training image than two patients of a site ever do.

After Dar et al., "Unconditional latent diffusion models memorize patient imaging data", arXiv 2402.01054: an image
counts as copied where its correlation with a generated one is above the 95th percentile of the training images'
correlations with their nearest validation image. They correlate learnt embeddings; here it is the pixels, less the
site's mean image, since the anatomy that all patients share is nobody's secret. A copy that was moved a little is still
one: a generated image is tried as it lies, and in the best of many places, each against its own percentile.
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
    An image counts as copied where its correlation with a generated one is above either of two thresholds.
    """

    def __init__(self, trained: Tensor, held_out: Tensor) -> None:
        self._usual = _centred(torch.cat([trained, held_out])).mean(0)
        self._trained, self._held_out = self._unit(trained), self._unit(held_out)
        self._thresholds = torch.quantile(self._nearest(self._trained, held_out), PERCENTILE, dim=1, keepdim=True)

    def copied(self, made: Tensor) -> Tensor:
        """Return which training images the generated images [M, C, H, W] copy: bool [N]."""
        return self._copied(self._trained, made)

    def copied_held_out(self, made: Tensor) -> Tensor:
        """Return which held-out images count as copied, bool [N]: nobody could copy those, so it is chance."""
        return self._copied(self._held_out, made)

    def _copied(self, own: Tensor, made: Tensor) -> Tensor:
        return (self._nearest(own, made) > self._thresholds).any(0)

    def _nearest(self, own: Tensor, others: Tensor) -> Tensor:
        """Return the best correlation of each row with images [M, C, H, W], as they lie and moved: [2, N]."""
        here, *moved = ((own @ self._unit(images).T).amax(1) for images in (others, *places(others)))
        return torch.stack([here, torch.stack(moved).amax(0)])

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
