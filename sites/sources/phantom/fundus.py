"""The fundus phantom: a colour photograph round the optic disc, with its cup, vessels and retina."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from sites.sources.phantom.painting import Array, Drawing, Grid, outline, paint, texture, wobble

RETINA = np.array([0.57, 0.26, 0.11])
RIM = np.array([0.78, 0.46, 0.22])
CUP = np.array([0.93, 0.80, 0.58])
ATROPHY = np.array([0.70, 0.41, 0.21])
ARTERY = np.array([0.53, 0.17, 0.08])
VEIN = np.array([0.40, 0.10, 0.06])


@dataclass(frozen=True, kw_only=True)
class _Eye:
    """One eye: mm towards the macula (x) and down (y) of the disc's middle; disc and cup as distances in mm."""

    grid: Grid
    x: Array
    y: Array
    disc: Array
    cup: Array
    radius: float

    def texture(self, generator: np.random.Generator, grain: float) -> Array:
        return texture(generator, (1, self.grid.size, self.grid.size), self.grid, grain)


def draw_fundus(generator: np.random.Generator, grid: Grid, slices: int) -> Drawing:
    """Draw one eye: tissue [slices, 3, size, size] (red, green, blue) in 0..1, structures cup and disc.

    `slices` are photographs of the same eye between which the gaze moves a little. The macula lies 4.5 mm
    from the disc, outside the 3 to 5 mm view: all that shows of it is the retina darkening towards it.
    """
    eye = _place(generator, grid, slices)
    tissue = _paint_retina(generator, eye)
    tissue = _paint_disc(generator, eye, tissue)
    tissue = _paint_vessels(generator, eye, tissue)
    cup, disc = eye.cup < 0, eye.disc < 0
    masks = np.stack([cup & disc, disc], axis=1).astype(np.uint8)
    return Drawing(tissue=np.clip(tissue, 0.0, 1.0), masks=masks, slice_mm=1.0)


def _place(generator: np.random.Generator, grid: Grid, slices: int) -> _Eye:
    side = generator.choice([-1.0, 1.0])  # right or left eye: the macula is on the other side
    middle = generator.uniform(-0.3, 0.3, size=2) + generator.normal(scale=0.04, size=(slices, 2))
    x = side * (grid.x - middle[:, 0, None, None])
    y = grid.y - middle[:, 1, None, None]
    turn = np.deg2rad(generator.uniform(-12, 12))
    dx, dy = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    radius = generator.uniform(0.72, 0.98)
    narrow = generator.uniform(0.84, 0.98)
    angle = np.arctan2(dy, dx)
    disc = outline(dx, dy, radius * narrow, radius, wobble(generator, angle, 0.012))
    ratio = generator.uniform(0.42, 0.68)
    # The cup sits a little towards the macula, where the rim is thinnest.
    sx = dx - generator.uniform(0.0, 0.1) * radius
    sy = dy - generator.normal(scale=0.02) * radius
    cup = outline(sx, sy, radius * ratio, radius * ratio, wobble(generator, np.arctan2(sy, sx), 0.025))
    return _Eye(grid=grid, x=x, y=y, disc=disc, cup=cup, radius=radius)


def _colour(colour: Array) -> Array:
    return colour[None, :, None, None]


def _paint_retina(generator: np.random.Generator, eye: _Eye) -> Array:
    """Pigment epithelium with choroidal mottling, brighter nerve fibre bundles, darker towards the macula."""
    pigment = generator.uniform(0.8, 1.08) * np.array([1.0, generator.uniform(0.88, 1.12), generator.uniform(0.8, 1.2)])
    choroid = 0.05 * eye.texture(generator, 0.22) + 0.03 * eye.texture(generator, 0.06)
    towards = 1 - 0.22 / (1 + np.exp(-(eye.x - 1.5) / 0.35))
    angle = np.arctan2(np.abs(eye.y), eye.x)
    fibres = 0.07 * np.exp(-(((angle - 1.2) / 0.4) ** 2)) * np.exp(-np.maximum(eye.disc, 0) / 0.6)
    light = (1 + choroid) * towards + fibres
    return _colour(RETINA * pigment) * light[:, None]


def _paint_disc(generator: np.random.Generator, eye: _Eye, tissue: Array) -> Array:
    """A crescent of atrophy in some eyes, then the rim (pinker on the nasal side), then the pale cup."""
    soft = max(0.06, eye.grid.pixel)
    if generator.random() < 0.4:
        crescent = np.maximum(eye.disc - generator.uniform(0.08, 0.2), 0.25 - eye.x)
        tissue = paint(tissue, _colour(ATROPHY), crescent[:, None], 0.15)
    tone = generator.uniform(0.92, 1.04)
    mottle = (1 + 0.025 * eye.texture(generator, 0.08))[:, None]
    pink = 1 - _colour(np.array([0.0, 0.10, 0.12])) * (1 / (1 + np.exp(eye.x / 0.25)))[:, None]
    tissue = paint(tissue, _colour(RIM * tone) * pink * mottle, eye.disc[:, None], soft)
    pallor = generator.uniform(0.94, 1.05)
    slope = generator.uniform(0.08, 0.16)  # a cup is a slope, not an edge
    return paint(tissue, _colour(CUP * pallor) * mottle, np.maximum(eye.cup, eye.disc)[:, None], slope)


def _paint_vessels(generator: np.random.Generator, eye: _Eye, tissue: Array) -> Array:
    """The central vessels leave the cup on its nasal side and arch above and below, towards macula and nose."""
    trunk = np.array([-0.2 * eye.radius, 0.0]) + generator.normal(scale=0.05, size=2)
    for colour, width in ((VEIN, 0.058), (ARTERY, 0.042)):
        paths, halves = [], []
        for temporal, down in ((1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)):
            path = _vessel(generator, trunk + generator.normal(scale=0.03, size=2), temporal, down)
            taper = width * generator.uniform(0.8, 1.2) * np.linspace(1.0, 0.6, len(path))
            branch = _branch(generator, path)
            paths += [path, branch]
            halves += [taper, 0.6 * taper[: len(branch)]]
        tissue = _paint_tubes(eye, tissue, np.concatenate(paths), np.concatenate(halves), colour)
    return tissue


def _vessel(generator: np.random.Generator, start: Array, temporal: float, down: float) -> Array:
    """Points [90, 2] along one vessel in mm, from the disc's middle to beyond the view."""
    along = np.linspace(0.0, 1.0, 90)
    bend = generator.uniform(0.7, 1.5) if temporal > 0 else generator.uniform(0.8, 1.7)
    wave = generator.uniform(0.05, 0.25) * np.sin(2 * np.pi * (generator.uniform(1.5, 3) * along + generator.random()))
    heading = np.pi / 2 + temporal * (generator.uniform(-0.1, 0.5) - bend * np.sqrt(along)) + wave
    step = 3.4 / len(along) * np.stack([np.cos(heading), down * np.sin(heading)], axis=1)
    return np.asarray(start + np.cumsum(step, axis=0))


def _branch(generator: np.random.Generator, path: Array) -> Array:
    """The later part of a vessel, turned to one side about the point where it leaves the trunk."""
    fork = path[generator.integers(15, 45) :]
    angle = generator.uniform(0.3, 0.7) * generator.choice([-1.0, 1.0])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.asarray((fork - fork[0]) @ turn + fork[0])


def _paint_tubes(eye: _Eye, tissue: Array, points: Array, halves: Array, colour: Array) -> Array:
    """Paint vessels given by points [N, 2] and half widths [N], in mm; thinner than a pixel, one fades."""
    reach = float(halves.max()) + eye.grid.pixel
    places = np.stack(np.broadcast_arrays(eye.x, eye.y), axis=-1)
    gap, nearest = cKDTree(points).query(places, distance_upper_bound=reach)
    # A pixel with nothing within reach has an infinite gap and the index N.
    half = np.append(halves, 0.0)[nearest]
    share = np.clip(0.5 - (gap - half) / eye.grid.pixel, 0, 1) * np.minimum(1.0, 2 * half / eye.grid.pixel)
    return tissue + (_colour(colour) - tissue) * (0.8 * share)[:, None]
