"""The prostate phantom: axial T2-weighted slices through a gland between bladder, rectum and pelvic floor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sites.sources.phantom.painting import Array, Drawing, Grid, ellipse, outline, paint, texture, wobble

SLICE_MM = 3.6
# The part of the half height, either side of the middle, that slices are taken from: nearer the poles the
# gland is smaller than a reader would contour, and a mask could be empty on a coarse grid.
USED_HEIGHT = 0.8


@dataclass(frozen=True, kw_only=True)
class _View:
    """Where the slices lie in a patient: mm right of (x) and behind (y) the gland's middle, z from apex to base."""

    grid: Grid
    x: Array
    y: Array
    z: Array

    def texture(self, generator: np.random.Generator, grain: float) -> Array:
        return texture(generator, (len(self.z), self.grid.size, self.grid.size), self.grid, grain)


@dataclass(frozen=True, kw_only=True)
class _Gland:
    """The outlines of one gland as signed distances in mm, [slices, size, size]; half sizes in mm."""

    edge: Array
    transition: Array
    half_width: Array
    half_depth: Array


def draw_prostate(generator: np.random.Generator, grid: Grid, slices: int) -> Drawing:
    """Draw one patient: tissue [slices, 1, size, size] in 0..1, and the whole gland as the only structure.

    x runs to the patient's left, y to the back. Slices are 3.6 mm apart (closer where more are asked for than
    the gland is high) and start at random, so some patients show more of the apex and some more of the base.
    The views are 75 to 125 mm wide and end inside the pelvis: the skin is out of sight, the pelvic bones are not.
    """
    half_height = generator.uniform(17.0, 24.0)
    slice_mm = min(SLICE_MM, 2 * USED_HEIGHT * half_height / slices)
    view = _place(generator, grid, slices, slice_mm / half_height)
    gland = _shape_gland(generator, view)
    tissue = _paint_pelvis(generator, view)
    tissue = _paint_bladder(generator, view, tissue, gland)
    tissue = _paint_rectum(generator, view, tissue, gland)
    tissue = _paint_bed(generator, view, tissue, gland)
    tissue = _paint_gland(generator, view, tissue, gland)
    masks = (gland.edge < 0).astype(np.uint8)
    return Drawing(tissue=np.clip(tissue, 0.0, 1.0)[:, None], masks=masks[:, None], slice_mm=slice_mm)


def _place(generator: np.random.Generator, grid: Grid, slices: int, step: float) -> _View:
    span = step * (slices - 1)
    lowest = generator.uniform(-USED_HEIGHT, USED_HEIGHT - span)
    right, back = generator.uniform(-5.0, 5.0, size=2)
    lean = generator.normal(scale=1.5)  # the gland's axis leans forwards or backwards
    turn = np.deg2rad(np.clip(generator.normal(scale=4.0), -10, 10))
    z: Array = (lowest + step * np.arange(slices, dtype=np.float64))[:, None, None]
    dx, dy = grid.x - right, grid.y - back - lean * z
    return _View(grid=grid, x=dx * np.cos(turn) + dy * np.sin(turn), y=dy * np.cos(turn) - dx * np.sin(turn), z=z)


def _shape_gland(generator: np.random.Generator, view: _View) -> _Gland:
    level = np.sqrt(1 - 0.8 * view.z**2) * (1 + 0.08 * view.z)
    half_width = generator.uniform(20.5, 28.5) * level
    half_depth = half_width * generator.uniform(0.62, 0.82)
    angle = np.arctan2(view.y / half_depth, view.x / half_width)
    # A chestnut: narrow in front, and hollowed at the back where the rectum lies against it.
    reach = wobble(generator, angle, 0.025, view.z) + generator.uniform(0.02, 0.08) * np.sin(angle)
    reach = reach - generator.uniform(0.05, 0.16) * np.exp(-(((angle - np.pi / 2) / 0.5) ** 2))
    edge = outline(view.x, view.y, half_width, half_depth, reach)
    # The transition zone lies in front and grows with age and towards the base.
    share = generator.uniform(0.5, 0.74) * (1 + 0.12 * view.z)
    forward = view.y + 0.2 * half_depth
    lumpy = wobble(generator, angle, 0.05, view.z)
    transition = outline(view.x, forward, half_width * share, half_depth * share, lumpy)
    return _Gland(edge=edge, transition=transition, half_width=half_width, half_depth=half_depth)


def _paint_pelvis(generator: np.random.Generator, view: _View) -> Array:
    """Fat, and on either side a wall of muscle and then bone; pubic bone in front of the lower slices."""
    pixel = view.grid.pixel
    septa, mottle = view.texture(generator, 1.6), view.texture(generator, 5.0)
    tissue = generator.uniform(0.6, 0.72) + 0.05 * septa + 0.04 * mottle
    marrow = generator.uniform(0.42, 0.55) + 0.05 * septa
    muscle = generator.uniform(0.2, 0.28) + 0.03 * septa
    for _ in range(8):
        tissue = paint(tissue, generator.uniform(0.2, 0.5), _strand(generator, view), 2 * pixel)
    wall, thick = generator.uniform(36.0, 42.0), generator.uniform(8.0, 13.0)
    for side in (-1.0, 1.0):
        bend, level = generator.uniform(0.004, 0.009), generator.uniform(-10.0, 4.0)
        depth = side * view.x - wall + bend * (view.y - level) ** 2 + 1.5 * view.z + 0.5 * mottle
        tissue = paint(tissue, muscle, -depth, 2 * pixel)
        tissue = paint(tissue, 0.08, thick - depth, pixel)
        tissue = paint(tissue, marrow, thick + 1.6 - depth, pixel)
        tissue = paint(tissue, muscle, _pubis(view, side, generator.uniform(8.0, 11.0)), 2 * pixel)
        tissue = paint(tissue, marrow, _pubis(view, side, 6.0), pixel)
    return tissue


def _strand(generator: np.random.Generator, view: _View) -> Array:
    """A vessel or a septum somewhere in the fat beside and behind the gland."""
    x, y = view.x - generator.uniform(-40, 40), view.y - generator.uniform(-10, 45)
    angle = generator.uniform(0, np.pi)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    drift = generator.normal(scale=4.0) * view.z
    return ellipse(along + drift, across, generator.uniform(1.2, 5.0), generator.uniform(0.7, 1.6))


def _pubis(view: _View, side: float, half_depth: float) -> Array:
    """A pubic ramus: it slants outwards and back, and gives way to the bladder in the upper slices."""
    x, y = side * view.x - 15.0, view.y + 36.0 + 12.0 * np.maximum(view.z, -0.3)
    return ellipse(x * 0.8 + y * 0.6, y * 0.8 - x * 0.6, half_depth * 2.2, half_depth)


def _paint_bladder(generator: np.random.Generator, view: _View, tissue: Array, gland: _Gland) -> Array:
    """The bladder comes down in front of the base: absent at the apex, wide above."""
    pixel = view.grid.pixel
    fill = np.clip(view.z - generator.uniform(-0.1, 0.5), 0.05, None)
    half_width, half_depth = 30.0 * np.sqrt(fill), 16.0 * np.sqrt(fill)
    centre = -gland.half_depth - 0.65 * half_depth
    wall = ellipse(view.x - generator.normal(scale=2.0), view.y - centre, half_width, half_depth)
    there = np.where(fill > 0.06, wall, 99.0)
    tissue = paint(tissue, 0.26, there - 2.0, pixel)
    return paint(tissue, generator.uniform(0.85, 0.97), there + 1.0, pixel)


def _paint_rectum(generator: np.random.Generator, view: _View, tissue: Array, gland: _Gland) -> Array:
    """A dark wall with gas, stool or gel in it, behind the gland."""
    pixel = view.grid.pixel
    half_width, half_depth = generator.uniform(11.0, 19.0), generator.uniform(8.0, 13.0)
    centre = gland.half_depth * 0.9 + half_depth + generator.uniform(0.0, 2.5)
    dx, dy = view.x - generator.normal(scale=2.0), view.y - centre
    reach = wobble(generator, np.arctan2(dy, dx), 0.05, view.z)
    wall = outline(dx, dy, half_width, half_depth, reach)
    content = generator.choice([0.05, 0.12, 0.42, 0.58]) + 0.07 * view.texture(generator, 2.0)
    tissue = paint(tissue, 0.52, wall - 1.5, 2 * pixel)
    tissue = paint(tissue, generator.uniform(0.26, 0.36), wall, pixel)
    return paint(tissue, content, wall + generator.uniform(2.5, 4.0), pixel)


def _paint_bed(generator: np.random.Generator, view: _View, tissue: Array, gland: _Gland) -> Array:
    """What hugs the gland: the levator sling at its sides, veins in front, a bundle at each back corner."""
    pixel = view.grid.pixel
    sling = ellipse(view.x, view.y - 6.0, gland.half_width + generator.uniform(2.5, 5.0), generator.uniform(30.0, 38.0))
    band = np.maximum(np.abs(sling) - generator.uniform(1.2, 2.0), 9.0 - np.abs(view.x))
    tissue = paint(tissue, 0.24, np.maximum(band, -22.0 - view.y), 1.5 * pixel)
    for side in (-1.0, 1.0):
        corner = ellipse(side * view.x - 0.82 * gland.half_width, view.y - 0.85 * gland.half_depth, 2.6, 2.2)
        tissue = paint(tissue, 0.33, corner, 2 * pixel)
    veins = np.maximum(gland.edge - generator.uniform(2.0, 4.5), view.y + 0.45 * gland.half_depth)
    plexus = np.clip(generator.uniform(0.5, 0.68) + 0.16 * view.texture(generator, 1.3), 0.2, 0.95)
    return paint(tissue, plexus, veins, 1.5 * pixel)


def _paint_gland(generator: np.random.Generator, view: _View, tissue: Array, gland: _Gland) -> Array:
    """Capsule, bright peripheral zone, nodular transition zone, dark stroma in front, and the urethra."""
    pixel = view.grid.pixel
    fine, nodules = view.texture(generator, 1.2), view.texture(generator, 2.6)
    peripheral = generator.uniform(0.62, 0.8) + 0.04 * fine + 0.04 * nodules
    central = generator.uniform(0.36, 0.5) + 0.08 * np.tanh(1.5 * nodules) + 0.03 * fine
    tissue = paint(tissue, 0.24, gland.edge, pixel)
    tissue = paint(tissue, peripheral, gland.edge + 1.1, pixel)
    tissue = paint(tissue, 0.27, np.maximum(gland.transition - 0.8, gland.edge + 1.0), pixel)
    tissue = paint(tissue, central, np.maximum(gland.transition, gland.edge + 1.1), 1.5 * pixel)
    stroma = ellipse(view.x, view.y + 0.8 * gland.half_depth, 0.45 * gland.half_width, 0.25 * gland.half_depth)
    tissue = paint(tissue, 0.27, np.maximum(stroma, gland.edge), 3 * pixel)
    urethra = ellipse(view.x, view.y + 0.1 * gland.half_depth, 2.2, 1.8)
    return paint(tissue, 0.68, urethra, 2 * pixel)
