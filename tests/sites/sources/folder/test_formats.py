"""Every format gives the same case, in the documented form."""

from __future__ import annotations

from pathlib import Path

import nrrd
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from sites.sources.folder import FolderConfig, open_folder
from sites.sources.folder.reading import read
from sites.stream import Case
from tests.sites.sources.folder.writing import SPACING, WRITERS, dicom_slice, picture, volume


def one_case(root: Path, image: str, mask: str, **config: object) -> Case:
    """Write the volume as two visits of one patient, and return the one that is held out."""
    for kind, name, voxels in zip(("images", "masks"), (image, mask), volume(), strict=True):
        folder = root / "north" / kind
        folder.mkdir(parents=True)
        suffix, writer = WRITERS[name]
        writer(voxels, folder / f"case{suffix}")
    (case,) = open_folder("any", FolderConfig.model_validate({"root": root, "size": 16, **config}), 0).held_out(
        "north", 9
    )
    return case


@pytest.mark.parametrize("mask", list(WRITERS))
@pytest.mark.parametrize("image", list(WRITERS))
def test_every_format_gives_the_same_case(image: str, mask: str, tmp_path: Path) -> None:
    if {image, mask} == {"nifti-turned", "tiff-stack"}:
        pytest.skip("a TIFF knows no orientation to turn it by")
    structures = {"whole": [1, 2], "core": [2]}
    reference = one_case(tmp_path / "a", "nifti", "nifti", structures=structures)
    case = one_case(tmp_path / "b", image, mask, structures=structures)

    if image == "tiff-stack":  # it has no spacing, so its pixels are taken as square, and padded
        assert case.spacing == (1.0, 2.0, 2.0)
        torch.testing.assert_close(case.masks[..., 3:13].sum(), reference.masks.sum(), rtol=0.5, atol=0)
        return
    torch.testing.assert_close(case.masks, reference.masks)
    torch.testing.assert_close(case.images, reference.images)
    # 20 columns of 0.8 mm and 32 rows of 0.5 mm are both 16 mm: 16 pixels of 1 mm, and nothing to pad.
    assert case.spacing == pytest.approx((3.0, 1.0, 1.0))


def test_a_case_has_the_documented_form(tmp_path: Path) -> None:
    case = one_case(tmp_path, "nifti", "nrrd", structures={"whole": [1, 2], "core": [2]}, channels=3)
    assert (case.images.dtype, case.images.shape) == (torch.float32, (3, 3, 16, 16))  # two of five slices are empty
    assert (case.masks.dtype, case.masks.shape) == (torch.uint8, (3, 2, 16, 16))
    assert 0.0 <= float(case.images.min()) < float(case.images.max()) <= 1.0
    assert set(case.masks.unique().tolist()) == {0, 1}
    assert (case.masks[:, 1] <= case.masks[:, 0]).all(), "structures may overlap"
    assert case.masks[:, 1].flatten(1).any(1).tolist() == [False, True, False]
    assert case.patient == "case"


@pytest.mark.parametrize(("axis", "slices", "apart"), [(0, 7, 0.8), (1, 17, 0.5), (2, 3, 3.0)])
def test_volumes_are_sliced_across_the_named_axis(axis: int, slices: int, apart: float, tmp_path: Path) -> None:
    turned = one_case(tmp_path / "a", "nifti-turned", "dicom-series", axis=axis, slices=99)
    plain = one_case(tmp_path / "b", "nrrd", "nifti", axis=axis, slices=99)
    assert turned.images.shape == (slices, 1, 16, 16)
    assert turned.spacing[0] == pytest.approx(apart)
    assert turned.spacing[1] == pytest.approx(turned.spacing[2], rel=0.1)
    torch.testing.assert_close(turned.images, plain.images)
    torch.testing.assert_close(turned.masks, plain.masks)


def test_fewer_slices_lie_further_apart(tmp_path: Path) -> None:
    case = one_case(tmp_path, "nifti", "nifti", slices=2)
    assert len(case.images) == 2
    assert case.spacing[0] == pytest.approx(6.0)  # the first and the third of three slices of 3 mm


def test_oblong_images_are_padded_not_cut_or_stretched(tmp_path: Path) -> None:
    pixels = np.full((20, 40), 200, dtype=np.uint8)
    pixels[:, :2] = 10
    picture(tmp_path / "north", "wide", pixels, np.ones_like(pixels))
    (case,) = open_folder("any", FolderConfig(root=tmp_path, size=40), 0).held_out("north", 1)
    assert case.masks[0, 0, 10:30].all()
    assert not case.masks[0, 0, :10].any()
    assert not case.masks[0, 0, 30:].any()
    assert case.spacing == (1.0, 1.0, 1.0)


def test_a_single_dicom_slice_pairs_with_a_picture_as_stored(tmp_path: Path) -> None:
    image, mask = volume()
    for kind in ("images", "masks"):
        (tmp_path / "north" / kind).mkdir(parents=True)
    sagittal = {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}
    dicom_slice(image[2], tmp_path / "north/images/x.dcm", **sagittal)
    Image.fromarray(mask[2].astype(np.uint8)).save(tmp_path / "north/masks/x.png")
    (case,) = open_folder("any", FolderConfig(root=tmp_path, size=16, structures={"core": (2,)}), 0).held_out(
        "north", 1
    )
    assert case.images.shape == (1, 1, 16, 16)
    assert case.spacing == pytest.approx((3.0, 1.0, 1.0))
    rows, columns = np.nonzero(case.masks[0, 0].numpy())
    assert (rows.min() * 2, columns.min() * 1.25) == pytest.approx((5, 3), abs=2)


def test_dicom_intensities_are_rescaled_and_inverted(tmp_path: Path) -> None:
    pixels = volume()[0][0]
    dicom_slice(pixels, tmp_path / "ct.dcm", RescaleSlope=2, RescaleIntercept=-1000)
    np.testing.assert_array_equal(read(tmp_path / "ct.dcm").voxels[0], pixels * 2.0 - 1000)
    dicom_slice(pixels, tmp_path / "xray.dcm", PhotometricInterpretation="MONOCHROME1", ImageOrientationPatient=None)
    np.testing.assert_array_equal(read(tmp_path / "xray.dcm").voxels[0], -1.0 * pixels)
    assert read(tmp_path / "xray.dcm").spacing == (1.0, 0.5, 0.8)
    np.testing.assert_array_equal(read(tmp_path / "xray.dcm", labels=True).voxels[0], pixels)


def test_nrrd_without_a_space_and_flat_nrrd_keep_their_spacing(tmp_path: Path) -> None:
    image, _ = volume()
    nrrd.write(str(tmp_path / "stack.nrrd"), image.transpose(2, 1, 0), {"spacings": list(SPACING[::-1])})
    stack = read(tmp_path / "stack.nrrd").facing(2)
    assert stack.spacing == pytest.approx(SPACING)
    np.testing.assert_array_equal(stack.voxels, image)
    nrrd.write(str(tmp_path / "flat.nrrd"), image[0].T, {"spacings": list(SPACING[:0:-1])})
    flat = read(tmp_path / "flat.nrrd")
    assert flat.spacing == pytest.approx((1.0, 0.5, 0.8))
    np.testing.assert_array_equal(flat.voxels, image[:1])


@pytest.mark.parametrize("suffix", ["png", "tif", "dcm"])
def test_colour_is_kept_or_becomes_luminance(suffix: str, tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    picture(tmp_path / "clinic", "eye", colour, np.ones((16, 16), dtype=np.uint8))
    if suffix != "png":
        (tmp_path / "clinic/images/eye.png").unlink()
    path = tmp_path / f"clinic/images/eye.{suffix}"
    if suffix == "tif":
        tifffile.imwrite(path, colour, photometric="rgb")
    elif suffix == "dcm":
        eight = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PhotometricInterpretation": "RGB"}
        fields = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PixelData": colour.tobytes()}
        nothing = dict.fromkeys(("ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"))
        dicom_slice(colour[..., 0].astype(np.uint16), path, **eight, **fields, **nothing)
    config = FolderConfig(root=tmp_path, size=16, channels=3)
    (case,) = open_folder("fundus", config, 0).held_out("clinic", 1)
    torch.testing.assert_close(case.images[0], torch.from_numpy(colour).movedim(-1, 0) / 255)

    (grey,) = open_folder("fundus", config.model_copy(update={"channels": 1}), 0).held_out("clinic", 1)
    expected = colour @ np.array([0.299, 0.587, 0.114]) / 255
    torch.testing.assert_close(grey.images[0, 0], torch.from_numpy(expected).float())


def test_masks_may_have_palettes_equal_channels_and_another_background(tmp_path: Path) -> None:
    values = np.full((16, 16), 255, dtype=np.uint8)
    values[2:12, 2:12], values[4:8, 4:8] = 128, 0
    picture(tmp_path / "a", "rgb", values, np.stack([values] * 3, axis=-1))
    picture(tmp_path / "b", "palette", values, values)
    indexed = Image.fromarray((values != 255).astype(np.uint8), mode=None).convert("P")
    indexed.putpalette([0, 0, 0, 255, 255, 0])
    indexed.save(tmp_path / "b/masks/palette.png")
    fundus = FolderConfig(root=tmp_path, size=16, structures={"cup": (0,), "disc": (0, 128)}, background=255)
    (case,) = open_folder("fundus", fundus, 0).held_out("a", 1)
    np.testing.assert_array_equal(case.masks[0, 0], values == 0)
    np.testing.assert_array_equal(case.masks[0, 1], values < 255)
    (case,) = open_folder("fundus", FolderConfig(root=tmp_path, size=16), 0).held_out("b", 1)
    np.testing.assert_array_equal(case.masks[0, 0], values < 255)


def test_one_bit_pictures_are_read(tmp_path: Path) -> None:
    square = np.zeros((16, 16), dtype=np.uint8)
    square[3:9, 4:8] = 255
    picture(tmp_path / "north", "a", square, square)
    for kind in ("images", "masks"):
        Image.fromarray(square).convert("1").save(tmp_path / f"north/{kind}/a.png")
    (case,) = open_folder("any", FolderConfig(root=tmp_path, size=16, structures={"dot": (1,)}), 0).held_out("north", 1)
    np.testing.assert_array_equal(case.masks[0, 0], square > 0)
    np.testing.assert_array_equal(case.images[0, 0], square > 0)
