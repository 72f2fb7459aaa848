"""Simulated scanners on one real head: the ICBM152 T1 average and its grey/white-matter maps, dealt out to six sites.

There is one head (an average of 152 volunteers), so this is never multi-centre data: what differs between the
sites is the simulated scanner. The template is left-right symmetric, so one hemisphere is used: the other would be
the same anatomy twice. A case is the frontal or the occipital half of a slab of axial slices, seen in a small field of
view: at 64 x 64 pixels the cortex of a whole head would be one pixel thick, and there would be half as many cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn.functional import interpolate, pad

from sites.errors import SourceError
from sites.stream import Case, Shape, SourceKind

STRUCTURES = ("grey_matter", "white_matter")
LOWEST, HIGHEST = 42, 144  # axial slices (1 mm) that hold enough of both structures
GAP = 2  # slices left out between two slabs, so that a held-out slice is never the neighbour of a training one
HALVES = {"frontal": (70, 60), "occipital": (160, 60)}  # centre (row, column) of the field of view, in millimetres
FIELD_OF_VIEW = 80.0  # millimetres
GAMMA = 2.5  # averaging 152 heads left grey at 0.79 of white; this makes it 0.55, nearer to a single T1-weighted scan
NOISE = 0.01  # of the reference scanner, in units of the brightest tissue


class BrainConfig(BaseModel):
    """How the head is cut up and seen.

    size: pixels of an image's side
    slices: slices of 1 mm in a slab, so in a case
    shift: multiplies every scanner's deviation from the reference; 0 makes all sites the same scanner
    seed: drives the noise and nothing else; none follows the run's seed
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(default=64, ge=32, le=192)
    slices: int = Field(default=4, ge=2, le=8)
    shift: float = Field(default=0.6, ge=0.0, le=1.5)
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """How a site's scanner departs from the reference; 0 everywhere is the reference itself.

    contrast: log2 of the gamma that stands for the sequence's timing (below 0: flat, proton-density-like grey and
        white matter; above 0: strong T1 weighting)
    tilt: coil sensitivity, in nepers from the centre to the edge, along (rows, columns)
    bowl: coil sensitivity, in nepers from the centre to the edge (above 0: bright rim, as with surface coils)
    blur: standard deviation of the in-plane point spread, in millimetres
    noise: Rician noise beyond the reference's, in units of the brightest tissue
    view: field of view beyond the reference's, as a fraction of it
    """

    contrast: float = 0.0
    tilt: tuple[float, float] = (0.0, 0.0)
    bowl: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    view: float = 0.0


SCANNERS = {
    "A": Scanner(contrast=0.2, tilt=(0.05, 0.0)),
    "B": Scanner(contrast=-0.35, tilt=(-0.12, 0.0), blur=0.2, noise=0.004, view=0.03),
    "C": Scanner(contrast=-0.9, tilt=(0.0, 0.15), bowl=0.1),
    "D": Scanner(contrast=1.35, tilt=(0.12, 0.1), bowl=0.15, blur=0.2, noise=0.005, view=0.06),
    "E": Scanner(contrast=-0.7, tilt=(-0.25, -0.35), bowl=-0.3, noise=0.004, view=0.03),
    "F": Scanner(contrast=-0.3, tilt=(0.35, -0.4), bowl=0.3, blur=0.3, noise=0.006, view=-0.06),
}


@dataclass(frozen=True)
class Block:
    """Where a case lies in the head: the first slice of its slab, and which half of the slab."""

    start: int
    half: str


class Brain:
    """The head, dealt out: every third slab is held out (the same for all sites), the others go round the sites.

    With one head, `patient` says which block of it a case is.
    """

    def __init__(self, config: BrainConfig, seed: int) -> None:
        self._config = config
        self._seed = seed if config.seed is None else config.seed
        self._held_out, self._train = deal(config.slices)

    @property
    def shape(self) -> Shape:
        size = self._config.size
        return Shape(channels=1, height=size, width=size, slices=self._config.slices, structures=STRUCTURES)

    @property
    def sites(self) -> tuple[str, ...]:
        return tuple(SCANNERS)

    def train(self, site: str, first: int, count: int) -> tuple[Case, ...]:
        """Return training cases number `first` to `first + count - 1` of a site; any first few cover the head.

        Raises:
            SourceError: the site is unknown, or has fewer cases
        """
        return self.rescan(site, site, first, count)

    def rescan(self, scanner: str, site: str, first: int, count: int) -> tuple[Case, ...]:
        """Return the same cases of a site as another site's scanner sees them: sites hold other slabs of the head.

        Raises:
            SourceError: a site is unknown, or has fewer cases
        """
        blocks = self._train[_known(site)]
        if first + count > len(blocks):
            raise SourceError(
                f"brain: site {site} is asked for training cases {first} to {first + count - 1}, but has "
                f"{len(blocks)}: ask for fewer in the schedule, or lower `slices` (now {self._config.slices})"
            )
        return tuple(self._case(_known(scanner), block) for block in blocks[first : first + count])

    def held_out(self, site: str, count: int) -> tuple[Case, ...]:
        """Return the first `count` held-out cases as the site's scanner sees them; any first few cover the head.

        Raises:
            SourceError: the site is unknown
        """
        return tuple(self._case(_known(site), block) for block in self._held_out[:count])

    def _case(self, site: str, block: Block) -> Case:
        last = block.start + self._config.slices - 1
        # The seed does not name the site's scanner settings, so noise is the only thing that it draws.
        rng = np.random.default_rng(
            (self._seed, list(SCANNERS).index(site), block.start, list(HALVES).index(block.half))
        )
        slab = head()[:, block.start : last + 1]
        images, masks, pixel = scan(
            slab, HALVES[block.half], SCANNERS[site], shift=self._config.shift, size=self._config.size, rng=rng
        )
        patient = f"icbm152-{block.half}-{block.start}-{last}"
        return Case(patient=patient, images=images, masks=masks, spacing=(1.0, pixel, pixel))


def _known(site: str) -> str:
    if site not in SCANNERS:
        raise SourceError(f"brain: there is no site {site!r}; the sites are {', '.join(SCANNERS)}")
    return site


def deal(slices: int) -> tuple[tuple[Block, ...], dict[str, tuple[Block, ...]]]:
    """Return the held-out blocks, and each site's training blocks; both halves of a slab stay together."""
    starts = range(LOWEST, HIGHEST - slices + 1, slices + GAP)
    train = [start for number, start in enumerate(starts) if number % 3 != 2]
    return blocks(starts[2::3]), {site: blocks(train[turn :: len(SCANNERS)]) for turn, site in enumerate(SCANNERS)}


def blocks(starts: Sequence[int]) -> tuple[Block, ...]:
    """Return the halves of slabs in an order whose first few lie spread over the head.

    Each slab comes once, the halves in turn, before its other half does. Slabs follow multiples of the golden
    ratio, which fill a circle evenly.
    """
    order = sorted(range(len(starts)), key=lambda number: (0.5 + number * 0.618034) % 1.0)
    halves = tuple(HALVES)
    return tuple(Block(starts[n], halves[(turn + lap) % 2]) for lap in range(2) for turn, n in enumerate(order))


@cache
def head() -> Tensor:
    """Load the head once per process: float32 [3: T1, grey, white; slices; rows to the back; columns to the left].

    All are in 0..1; a voxel is a cubic millimetre.

    Raises:
        SourceError: the package that ships the volume is not installed
    """
    package = find_spec("nilearn")  # found, not imported: importing nilearn takes seconds
    if package is None or package.origin is None:
        raise SourceError("brain: the head comes with the package nilearn: pip install 'wardround[brain]'")
    folder = Path(package.origin).parent / "datasets" / "data"
    files = [folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz" for name in ("t1", "gm", "wm")]
    if missing := [file for file in files if not file.is_file()]:
        raise SourceError(f"{missing[0]}: not in the nilearn installed: pip install -U 'wardround[brain]'")
    volumes = np.stack([np.asarray(nib.load(file).dataobj, dtype=np.float32) for file in files])
    return torch.from_numpy(np.ascontiguousarray(volumes.transpose(0, 3, 2, 1)[:, :, ::-1, ::-1]) / 255.0)


def scan(
    slab: Tensor, centre: tuple[int, int], scanner: Scanner, *, shift: float, size: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor, float]:
    """See a slab [3, slices, rows, columns] through a scanner, its field of view centred on (row, column).

    Returns images float32 [slices, 1, size, size] in 0..1, masks uint8 [slices, 2, size, size], and the
    pixel's side in millimetres.
    """
    side = round(FIELD_OF_VIEW * (1.0 + shift * scanner.view))
    top, left = (middle - side // 2 for middle in centre)
    # Padding by a negative number crops, so one call places the field of view inside or across the volume's edge.
    view = pad(slab, (-left, left + side - slab.shape[3], -top, top + side - slab.shape[2]))
    small = interpolate(view, size=(size, size), mode="bilinear", antialias=True)
    pixel = side / size

    image = small[0].double().numpy() ** (GAMMA * 2.0 ** (shift * scanner.contrast))
    blur = shift * scanner.blur / pixel
    image = gaussian_filter(image, (0.0, blur, blur)) * sensitivity(scanner, shift, size)
    noise = rng.normal(0.0, NOISE + shift * scanner.noise, (2, *image.shape))
    image = np.hypot(image + noise[0], noise[1])
    # Consoles scale to the brightest tissue; without it, gain alone would tell the sites apart.
    image = np.clip(image / np.percentile(image, 99.5), 0.0, 1.0)
    return torch.from_numpy(image).float()[:, None], (small[1:] > 0.5).to(torch.uint8).movedim(0, 1), pixel


def sensitivity(scanner: Scanner, shift: float, size: int) -> NDArray[np.float64]:
    """Return the receive coil's gain over the field of view, [size, size], 1 at its centre."""
    row, column = np.meshgrid(np.linspace(-1.0, 1.0, size), np.linspace(-1.0, 1.0, size), indexing="ij")
    along = scanner.tilt[0] * row + scanner.tilt[1] * column
    gain: NDArray[np.float64] = np.exp(shift * (along + scanner.bowl * (row**2 + column**2) / 2))
    return gain


def open_brain(task: str, config: BrainConfig, seed: int) -> Brain:
    """Open the head for the task `brain`.

    Raises:
        SourceError: another task's name, or no nilearn
    """
    if task != "brain":
        raise SourceError(f"task: the source brain holds the task 'brain' only, not {task!r}: write `task: brain`")
    head()
    return Brain(config, seed)


SOURCE = SourceKind(config=BrainConfig, open=open_brain)
