"""Pictures that belong to no site: random shapes under random scanners, to teach a generator before any site comes.

In the spirit of SynthMorph (Hoffmann et al., IEEE TMI 2022) and SynthSeg (Billot et al., Medical Image Analysis 2023):
nothing in them is taken from an organ, a phantom or a data set.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

Array = npt.NDArray[np.float64]
Range = tuple[float, float]


@dataclass(frozen=True)
class World:
    """One imagined site: its own anatomy of blobs and its own scanner.

    images: float32 [N, 3, H, W] in 0..1, three equal channels where `grey`
    masks: uint8 [N, 2, H, W], the same structure twice where `single`
    """

    images: npt.NDArray[np.float32]
    masks: npt.NDArray[np.uint8]
    grey: bool
    single: bool


def make_world(seed: int, count: int, size: int) -> World:
    """Imagine a site, and `count` pictures of it of `size` x `size` pixels."""
    return _Painter(np.random.default_rng(seed), count, size).world()


class _Painter:
    """Draws all pictures of one world at once."""

    def __init__(self, draws: np.random.Generator, count: int, size: int) -> None:
        self._draws, self._count, self._size = draws, count, size
        self._grey, self._single, self._nested = (bool(draws.random() < 0.6) for _ in range(3))
        self._rim = self._one(0.01, 0.03)
        axis = np.linspace(-1, 1, size)
        self._plain = np.meshgrid(axis, axis, indexing="xy")
        self._x, self._y = self._posed()

    def world(self) -> World:
        blobs = int(self._draws.integers(4, 10))
        target = int(self._draws.integers(1, blobs))
        picture = np.broadcast_to(self._colour(), (self._count, 3, self._size, self._size))
        picture = picture + self._texture(0.12)
        for place in range(blobs):
            if place == target:
                centre, radius = (self._one(-0.3, 0.3), self._one(-0.3, 0.3)), self._one(0.2, 0.5)
                cover = outer = self._blob(centre, (radius * self._one(0.8, 1.25), radius), 0.12, 0.07)
            elif place == 0:
                cover = self._blob(self._place((-0.2, 0.2)), self._place((0.6, 1.3)), 0.1, 0.05)
            else:
                cover = self._blob(self._place((-1, 1)), self._place((0.08, 0.5)), 0.2, 0.08)
            picture = self._over(picture, cover)
        inner = self._inner(centre, radius, outer)
        if not self._single:
            picture = self._over(picture, inner)
        second = outer if self._single else inner
        masks = np.stack([outer, second], axis=1) > 0.5
        return World(self._scanned(picture).astype(np.float32), masks.astype(np.uint8), self._grey, self._single)

    def _one(self, low: float, high: float) -> float:
        return float(self._draws.uniform(low, high))

    def _place(self, bounds: Range) -> Range:
        return self._one(*bounds), self._one(*bounds)

    def _normal(self, *shape: int) -> Array:
        return self._draws.normal(size=(self._count, *shape))

    def _posed(self) -> tuple[Array, Array]:
        """Return coordinates [N, H, W], turned, zoomed and shifted a little from picture to picture."""
        turn, zoom, shift = 0.12 * self._normal(1, 1), np.exp(0.08 * self._normal(1, 1)), 0.06 * self._normal(2, 1, 1)
        x, y = self._plain[0] - shift[:, 0], self._plain[1] - shift[:, 1]
        return (x * np.cos(turn) + y * np.sin(turn)) * zoom, (y * np.cos(turn) - x * np.sin(turn)) * zoom

    def _blob(self, centre: Range, radii: Range, wobble: float, stray: float) -> Array:
        """Return the cover, 0..1 [N, H, W], of a star-shaped blob that differs a little from picture to picture."""
        off, grown = stray * self._normal(2, 1, 1), np.exp(0.13 * self._normal(2, 1, 1))
        x = (self._x - centre[0] - off[:, 0]) / (radii[0] * grown[:, 0])
        y = (self._y - centre[1] - off[:, 1]) / (radii[1] * grown[:, 1])
        angle, edge = np.arctan2(y, x), np.ones_like(x)
        for order in (2, 3, 4):
            wave = wobble / order * (self._draws.normal(size=(1, 2, 1, 1)) + 0.6 * self._normal(2, 1, 1))
            edge = edge + wave[:, 0] * np.cos(order * angle) + wave[:, 1] * np.sin(order * angle)
        return 1 / (1 + np.exp(-np.clip((edge - np.hypot(x, y)) * min(radii) / self._rim, -30, 30)))

    def _inner(self, centre: Range, radius: float, outer: Array) -> Array:
        """Return the second structure: inside the first one, or anywhere."""
        if not self._nested:
            return self._blob(self._place((-0.5, 0.5)), self._place((0.15, 0.4)), 0.15, 0.06)
        share = radius * self._one(0.35, 0.7)
        off = (centre[0] + radius * self._one(-0.1, 0.1), centre[1] + radius * self._one(-0.1, 0.1))
        return self._blob(off, (share, share * self._one(0.8, 1.2)), 0.12, 0.02) * (outer > 0.5)

    def _colour(self) -> Array:
        tone = self._one(0.02, 0.98)
        cast = np.full(3, tone) if self._grey else 0.4 * tone + 0.6 * self._draws.uniform(0.02, 0.98, 3)
        return cast.reshape(1, 3, 1, 1)

    def _texture(self, most: float) -> Array:
        """Return smooth noise [N, 1, H, W] of a random grain and strength."""
        grain = self._size / self._one(6, 48)
        noise = gaussian_filter(self._normal(self._size, self._size), (0, grain, grain), mode="wrap")
        return np.asarray(self._one(0, most) * (noise / noise.std())[:, None])

    def _over(self, picture: Array, cover: Array) -> Array:
        """Paint a blob [N, H, W] of a new colour over pictures [N, 3, H, W]."""
        paint = self._colour() * np.exp(0.06 * self._normal(1, 1, 1)) + self._texture(0.1)
        return picture * (1 - cover[:, None]) + paint * cover[:, None]

    def _scanned(self, picture: Array) -> Array:
        """Return what a random scanner makes of tissue: gamma, bias field, blur, and noise (Rician in grey)."""
        picture = np.clip(picture, 1e-3, 1.2) ** np.exp(self._one(-0.8, 0.8))
        x, y = self._plain
        slopes = 0.6 * self._one(0, 1.2) * self._draws.normal(size=(1, 4, 1, 1)) + 0.05 * self._normal(4, 1, 1)
        bias = np.exp(slopes[:, 0] * x + slopes[:, 1] * y + slopes[:, 2] * x**2 + slopes[:, 3] * y**2)
        blur = self._one(0, 1.3)
        picture = gaussian_filter(picture * bias[:, None], (0, 0, blur, blur), mode="nearest")
        top = np.quantile(picture, 0.99, axis=(1, 2, 3), keepdims=True)
        picture = picture / np.maximum(top, 0.05) * self._one(0.75, 1)
        level, channels = self._one(0.005, 0.09), 1 if self._grey else 3
        real, imaginary = (level * self._normal(channels, self._size, self._size) for _ in range(2))
        return np.clip(np.hypot(picture + real, imaginary) if self._grey else picture + real, 0, 1)
