"""Read an image or a mask in any of the formats that hospitals and challenges use, into one form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import nrrd
import numpy as np
import pydicom
import tifffile
from nibabel import orientations
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray
from PIL import Image
from pydicom.pixels import apply_rescale

from sites.errors import SourceError

ENDINGS = (".nii.gz", ".nii", ".nrrd", ".png", ".tiff", ".tif", ".dcm")
FACING = ("RIP", "AIL", "SPL")  # directions of (slices, rows, columns) per axis: the way radiologists look at them
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM and NRRD count towards left and posterior, nibabel away from them

Array = NDArray[Any]


class Unreadable(SourceError):
    """A file that is broken, or holds something else than one image or volume."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class Volume:
    """What a file holds, in the order in which it is stored.

    voxels: [slices, rows, columns], in colour [slices, rows, columns, 3]
    spacing: millimetres between (slices, rows, columns); 1 where the format has no place for it
    affine: [4, 4], from (slice, row, column) to millimetres towards (right, anterior, superior); none in a picture
    """

    voxels: Array
    spacing: tuple[float, float, float]
    affine: NDArray[np.float64] | None = None

    def facing(self, axis: int) -> Volume:
        """Turn and flip an oriented volume (to the nearest right angle) so that slices lie across an anatomical axis.

        An axial slice then shows anterior above, and the patient's left on the right.
        """
        if self.affine is None:
            return self
        turn = orientations.ornt_transform(
            orientations.io_orientation(self.affine), orientations.axcodes2ornt(FACING[axis])
        )
        affine = self.affine @ orientations.inv_ornt_aff(turn, self.voxels.shape[:3])
        return _oriented(orientations.apply_orientation(self.voxels, turn), affine)


def ending(path: Path) -> str | None:
    """Return the ending by which a file's format is known (`.dcm` for a folder of them), or none."""
    if path.is_dir():
        return ".dcm" if any(ending(part) == ".dcm" for part in path.iterdir() if part.is_file()) else None
    return next((known for known in ENDINGS if path.name.lower().endswith(known)), None)


def stem(path: Path) -> str:
    """Return the case's name: the file's name without its ending, a folder's whole name."""
    return path.name if path.is_dir() else path.name[: -len(ending(path) or "") or None]


def read(path: Path, *, labels: bool = False) -> Volume:
    """Read a file, or a folder of DICOM slices.

    With `labels` the values are taken as they are: palettes and inverted greys are left alone.

    Raises:
        Unreadable: with the reason
    """
    readers: dict[str | None, Callable[[Path, bool], Volume]] = {
        ".nii.gz": _nifti,
        ".nii": _nifti,
        ".nrrd": _nrrd,
        ".png": _png,
        ".tiff": _tiff,
        ".tif": _tiff,
        ".dcm": _dicom,
    }
    known = ending(path)
    if known not in readers:
        raise Unreadable(path, f"none of the formats {', '.join(ENDINGS)}")
    try:
        return readers[known](path, labels)
    except Exception as error:  # six libraries, and each raises errors of its own on a broken file
        raise Unreadable(path, str(error) or type(error).__name__) from error


def _oriented(voxels: Array, affine: NDArray[np.float64]) -> Volume:
    slices, rows, columns = (float(size) for size in voxel_sizes(affine))
    if not min(slices, rows, columns) > 0:
        raise ValueError("the header gives a voxel no size; write a valid affine")
    return Volume(voxels, (slices, rows, columns), affine)


def _picture(voxels: Array, spacing: tuple[float, float] = (1.0, 1.0)) -> Volume:
    # One-bit pictures come as booleans, which have no percentiles.
    return Volume(voxels.astype(np.uint8) if voxels.dtype == np.bool_ else voxels, (1.0, *spacing))


def _nifti(path: Path, _: bool) -> Volume:
    image = nib.load(path)
    voxels = np.asanyarray(image.dataobj)
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    if voxels.ndim == 2:
        voxels = voxels[..., None]
    if voxels.ndim != 3 or voxels.dtype.names:
        raise ValueError(f"holds {voxels.shape} voxels of {voxels.dtype}; save one volume of plain numbers per case")
    return _oriented(voxels.transpose(2, 1, 0), image.affine[:, [2, 1, 0, 3]])


def _nrrd(path: Path, _: bool) -> Volume:
    voxels, header = nrrd.read(str(path), index_order="C")
    sizes = np.asarray(header.get("spacings", np.ones(voxels.ndim)), dtype=float)
    directions = np.asarray(header.get("space directions", np.diag(sizes)), dtype=float)
    if directions.shape != (voxels.ndim, voxels.ndim) or voxels.ndim not in (2, 3):
        raise ValueError(f"holds {voxels.shape} values with axes {directions.shape}; save one grey image per case")
    if voxels.ndim == 2:
        across, down = np.linalg.norm(directions, axis=1)
        return _picture(voxels[None], (float(down), float(across)))
    affine = np.eye(4)
    affine[:3, :3] = directions[::-1].T
    affine[:3, 3] = np.asarray(header.get("space origin", np.zeros(3)), dtype=float)
    # Without a space, ITK's habit: the axes run towards left, posterior and superior.
    words = str(header.get("space", "left-posterior-superior")).lower()
    codes = "".join(word[0] for word in words.split("-")) if "-" in words else words
    signs = np.diag([1.0 if code in "ras" else -1.0 for code in codes[:3]] + [1.0])
    return _oriented(voxels, signs @ affine)


def _png(path: Path, labels: bool) -> Volume:
    with Image.open(path, formats=["PNG"]) as file:
        image: Image.Image = file
        if image.mode == "P" and not labels:
            image = image.convert("RGBA")
        if image.mode in ("LA", "RGBA"):
            image = image.convert(image.mode[:-1])
        voxels = np.asarray(image)
    return _picture(voxels[None])


def _tiff(path: Path, labels: bool) -> Volume:
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        voxels, axes = series.asarray(), series.axes
        colours = file.pages.first.photometric
    if "S" in axes:
        voxels = np.moveaxis(voxels, axes.index("S"), -1)[..., :3]
    if not labels and colours == tifffile.PHOTOMETRIC.PALETTE:
        raise ValueError("holds palette colours; save it as grey or RGB")
    if not labels and colours == tifffile.PHOTOMETRIC.MINISWHITE:
        voxels = -voxels.astype(np.float32)
    return _picture(voxels.reshape(-1, *voxels.shape[-3 if "S" in axes else -2 :]))


def _dicom(path: Path, labels: bool) -> Volume:
    files = [part for part in sorted(path.iterdir()) if ending(part) == ".dcm"] if path.is_dir() else [path]
    parts = [pydicom.dcmread(file) for file in files]
    if any("PhotometricInterpretation" not in part for part in parts):
        raise ValueError("is DICOM, but holds no image")
    if any(int(part.get("NumberOfFrames", 1)) > 1 for part in parts):
        raise ValueError("holds several frames in one file; convert it to NIfTI or to one file per slice")
    pixel = [float(size) for size in parts[0].get("PixelSpacing", parts[0].get("ImagerPixelSpacing", (1.0, 1.0)))]
    if len(parts) == 1 and ("ImageOrientationPatient" not in parts[0] or "ImagePositionPatient" not in parts[0]):
        return _picture(_pixels(parts[0], labels)[None], (pixel[0], pixel[1]))

    if any("ImageOrientationPatient" not in part or "ImagePositionPatient" not in part for part in parts):
        raise ValueError("a slice has no ImagePositionPatient or ImageOrientationPatient to order it by")
    along, down = np.asarray(parts[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    normal = np.cross(along, down)
    parts.sort(key=lambda part: float(normal @ np.asarray(part.ImagePositionPatient, dtype=float)))
    origins = np.array([part.ImagePositionPatient for part in parts], dtype=float)
    heights = origins @ normal
    if len(parts) > 1 and np.diff(heights).min() < 1e-3:
        raise ValueError("two slices lie at the same place; keep one series in the folder")
    thick = float(parts[0].get("SpacingBetweenSlices", None) or parts[0].get("SliceThickness", None) or 1.0)
    step = (origins[-1] - origins[0]) / (len(parts) - 1) if len(parts) > 1 else normal * thick
    affine = np.eye(4)
    affine[:3] = np.column_stack([step, down * pixel[0], along * pixel[1], origins[0]])
    return _oriented(np.stack([_pixels(part, labels) for part in parts]), LPS @ affine)


def _pixels(part: pydicom.Dataset, labels: bool) -> Array:
    kind = part.PhotometricInterpretation
    if kind == "PALETTE COLOR" and not labels:
        raise ValueError("holds palette colours; save it as grey or RGB")
    pixels: Array = apply_rescale(part.pixel_array, part)
    # Inverting about 0 is enough: intensities are normalised by percentiles later.
    return -pixels.astype(np.float32) if kind == "MONOCHROME1" and not labels else pixels
