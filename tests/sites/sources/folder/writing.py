"""Writes one volume in every format that the folder source reads, and pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pydicom
import tifffile
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

Voxels = NDArray[np.uint16]

# Every axis has a length and a spacing of its own, so that no mix-up of axes goes unseen.
SPACING = (3.0, 0.5, 0.8)  # slices, rows, columns


def volume() -> tuple[Voxels, Voxels]:
    """An image and a mask [slices to the head, rows to the back, columns to the left], without any symmetry."""
    rng = np.random.default_rng(3)
    image = rng.integers(0, 900, (5, 32, 20)).astype(np.uint16)
    mask = np.zeros((5, 32, 20), dtype=np.uint16)
    mask[1:4, 3:20, 2:9] = 1
    mask[2, 5:10, 3:6] = 2
    return image, mask


def lps_affine() -> NDArray[np.float64]:
    """From (column, row, slice) to millimetres towards left, posterior, superior."""
    affine = np.diag([SPACING[2], SPACING[1], SPACING[0], 1.0])
    affine[:3, 3] = (-12.0, 30.0, 7.0)
    return affine


def nifti(voxels: Voxels, path: Path, codes: str = "LPS") -> None:
    """Write NIfTI, stored in any orientation."""
    plain = nib.Nifti1Image(voxels.transpose(2, 1, 0), np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps_affine())
    start = nib.orientations.io_orientation(plain.affine)
    turn = nib.orientations.ornt_transform(start, nib.orientations.axcodes2ornt(codes))
    nib.save(plain.as_reoriented(turn), path)


def write_nrrd(voxels: Voxels, path: Path) -> None:
    affine = lps_affine()
    header = {
        "space": "left-posterior-superior",
        "space directions": affine[:3, :3].T,
        "space origin": affine[:3, 3],
    }
    nrrd.write(str(path), voxels.transpose(2, 1, 0), header)


def dicom_slice(pixels: Voxels, path: Path, number: int = 0, **fields: object) -> None:
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.PixelSpacing = list(SPACING[1:])
    data.SliceThickness = SPACING[0]
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.ImagePositionPatient = [-12.0, 30.0, 7.0 + number * SPACING[0]]
    data.RescaleSlope, data.RescaleIntercept = 1, 0
    data.PixelData = pixels.astype("<u2").tobytes()
    for name, value in fields.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)


def dicom_series(voxels: Voxels, path: Path) -> None:
    path.mkdir()
    names = [4, 0, 3, 1, 2]  # the files' names say nothing of the slices' order
    for number, pixels in enumerate(voxels):
        dicom_slice(pixels, path / f"{names[number]}.dcm", number)


def tiff(voxels: Voxels, path: Path) -> None:
    tifffile.imwrite(path, voxels, photometric="minisblack")


Writer = Callable[[Voxels, Path], None]
WRITERS: dict[str, tuple[str, Writer]] = {
    "nifti": (".nii.gz", nifti),
    "nifti-turned": (".nii", lambda voxels, path: nifti(voxels, path, "ARI")),
    "nrrd": (".nrrd", write_nrrd),
    "dicom-series": ("", dicom_series),
    "tiff-stack": (".tif", tiff),
}


def picture(site: Path, case: str, pixels: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    for kind, values in (("images", pixels), ("masks", mask)):
        (site / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(site / kind / f"{case}.png")
