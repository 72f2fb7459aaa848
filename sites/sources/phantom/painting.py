"""How a phantom is painted: a grid in millimetres, shapes as signed distances, and tissue texture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Array = NDArray[np.float64]
Mask = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A square of `size` x `size` pixels of `pixel` millimetres, its origin in the middle."""

    size: int
    pixel: float

    @property
    def x(self) -> Array:
        """Millimetres to the right of the middle, [1, 1, size]."""
        return self._axis()[None, None, :]

    @property
    def y(self) -> Array:
        """Millimetres below the middle, [1, size, 1]."""
        return self._axis()[None, :, None]

    def _axis(self) -> Array:
        return np.asarray((np.arange(self.size) - (self.size - 1) / 2) * self.pixel, dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A patient before the scanner.

    tissue: [slices, channels, size, size], about 0..1
    masks: uint8 [slices, structures, size, size], each 0 or 1, from the same outlines as the tissue
    slice_mm: distance between two slices
    """

    tissue: Array
    masks: Mask
    slice_mm: float


def ellipse(dx: Array, dy: Array, half_width: Array | float, half_height: Array | float) -> Array:
    """Return about the distance in mm to an ellipse at the origin of (dx, dy), negative inside."""
    return outline(dx, dy, half_width, half_height, 1.0)


def outline(dx: Array, dy: Array, half_width: Array | float, half_height: Array | float, reach: Array | float) -> Array:
    """Return about the distance in mm to an ellipse whose radius is multiplied by `reach`, negative inside.

    `reach` may depend on the direction. The value is exact in sign, and to first order near the outline.
    """
    relative = np.hypot(dx / half_width, dy / half_height)
    scale = (np.hypot(dx, dy) + 1e-6) / (relative + 1e-6)
    return np.asarray((relative - reach) * scale)


def wobble(generator: np.random.Generator, angle: Array, amount: float, z: Array | float = 0.0) -> Array:
    """Return a smooth closed-curve perturbation around 1 over `angle` (radians) that drifts linearly with `z`."""
    reach = np.ones_like(angle)
    for order in range(2, 6):
        size, drift = generator.normal(scale=amount * 2 / order, size=2)
        phase = generator.uniform(0, 2 * np.pi)
        reach = reach + (size + drift * z) * np.cos(order * angle + phase)
    return reach


def paint(image: Array, value: Array | float, distance: Array, soft: float) -> Array:
    """Return `image` with `value` inside an outline, mixed across an edge `soft` mm wide (a pixel: anti-aliased)."""
    return image + (value - image) * np.clip(0.5 - distance / soft, 0.0, 1.0)


def texture(generator: np.random.Generator, shape: tuple[int, ...], grid: Grid, grain: float) -> Array:
    """Return a random field of mean 0 and deviation 1, smooth over `grain` mm in the plane.

    The first axis of a [slices, size, size] field is correlated between neighbouring slices.
    """
    sigma = grain / grid.pixel
    field = gaussian_filter(generator.normal(size=shape), (0.7, sigma, sigma), mode="wrap", truncate=3.0)
    return np.asarray((field - field.mean()) / (field.std() + 1e-9))
