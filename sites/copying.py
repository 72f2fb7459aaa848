"""The copy test: does a generated image lie closer to a training image than two patients of a site ever do.

After Dar et al., "Unconditional latent diffusion models memorize patient imaging data", arXiv 2402.01054: an image
counts as copied where its correlation with a generated one is above the 95th percentile of the training images'
correlations with their nearest validation image. They correlate learnt embeddings; here it is the pixels, less the
site's mean image, since the anatomy that all patients share is nobody's secret.
"""

from __future__ import annotations

import torch
from torch import Tensor

PERCENTILE = 0.95


class CopyTest:
    """Tells which images of a site generated ones copy.

    trained, held_out: the site's images float32 [N, C, H, W] in 0..1 that were trained on, and others of its own.
    `threshold` is the correlation above which an image counts as copied.
    """

    def __init__(self, trained: Tensor, held_out: Tensor) -> None:
        self._usual = _centred(torch.cat([trained, held_out])).mean(0)
        self._trained, self._held_out = self._unit(trained), self._unit(held_out)
        nearest = (self._trained @ self._held_out.T).amax(1)
        self.threshold = float(torch.quantile(nearest, PERCENTILE))

    def copied(self, made: Tensor) -> Tensor:
        """Return which training images the generated images [M, C, H, W] copy: bool [N]."""
        return self._near(self._trained, made)

    def copied_held_out(self, made: Tensor) -> Tensor:
        """Return which held-out images count as copied, bool [N]: nobody could copy those, so it is chance."""
        return self._near(self._held_out, made)

    def _near(self, own: Tensor, made: Tensor) -> Tensor:
        near: Tensor = (own @ self._unit(made).T).amax(1) > self.threshold
        return near

    def _unit(self, images: Tensor) -> Tensor:
        """Return images less the usual one as rows of mean 0 and length 1, so that a product is a correlation."""
        return _normal(_centred(images) - self._usual)


def _centred(images: Tensor) -> Tensor:
    """Return images as rows of mean 0 and length 1, so that brightness and contrast play no part."""
    return _normal(images.flatten(1) - images.flatten(1).mean(1, keepdim=True))


def _normal(rows: Tensor) -> Tensor:
    unit: Tensor = rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return unit
