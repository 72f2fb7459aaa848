"""`check` finds every kind of fault, all of them in one go, and nothing in a folder that is in order."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from sites.sources.folder import Fault, FolderConfig, check

SQUARE = np.zeros((16, 16), dtype=np.uint8)
SQUARE[4:9, 4:12] = 1


def add(root: Path, site: str, case: str, mask: np.ndarray | None = SQUARE, image: np.ndarray | None = SQUARE) -> None:
    for kind, pixels in (("images", image), ("masks", mask)):
        (root / site / kind).mkdir(parents=True, exist_ok=True)
        if pixels is not None:
            Image.fromarray(pixels).save(root / site / kind / f"{case}.png")


def faults(root: Path, **settings: object) -> list[Fault]:
    return [
        fault for checked in check(FolderConfig.model_validate({"root": root, **settings})) for fault in checked.faults
    ]


def found(root: Path, **settings: object) -> set[tuple[str, str]]:
    return {(fault.what, str(fault.file)) for fault in faults(root, **settings)}


def test_a_folder_in_order_has_no_faults_and_progress_counts_up(tmp_path: Path) -> None:
    for case in "abc":
        add(tmp_path, "north", case)
    (tmp_path / "cases.csv").write_text("site,case,split\nnorth,a,train\nnorth,b,train\nnorth,c,test\n")
    steps = list(check(FolderConfig(root=tmp_path)))
    assert [(step.done, step.total, step.faults) for step in steps] == [(n, 4, ()) for n in (1, 2, 3, 4)]
    assert [str(step.file) for step in steps[1:]] == [f"north/images/{case}.png" for case in "abc"]


def test_every_fault_of_files_is_listed_in_one_go(tmp_path: Path) -> None:
    add(tmp_path, "north", "good")
    add(tmp_path, "north", "broken-image")
    (tmp_path / "north/images/broken-image.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    add(tmp_path, "north", "broken-both")
    for kind in ("images", "masks"):
        (tmp_path / f"north/{kind}/broken-both.png").write_bytes(b"")
    add(tmp_path, "north", "small", SQUARE[:12])
    add(tmp_path, "north", "empty", SQUARE * 0)
    add(tmp_path, "north", "strange", SQUARE * 7)
    add(tmp_path, "north", "small-and-strange", np.maximum(SQUARE, 9)[:3])
    add(tmp_path, "north", "coloured", np.stack([SQUARE, SQUARE * 2, SQUARE], axis=-1))
    add(tmp_path, "north", "maskless", mask=None)
    add(tmp_path, "north", "imageless", image=None)
    add(tmp_path, "north", "twice")
    Image.fromarray(SQUARE).save(tmp_path / "north/images/twice.tif")
    (tmp_path / "north/images/photo.jpg").write_bytes(b"")
    (tmp_path / "north/images/.DS_Store").write_bytes(b"")
    (tmp_path / "south/images").mkdir(parents=True)
    fractions = nib.Nifti1Image(SQUARE[..., None] * np.float32(0.4), np.eye(4))
    add(tmp_path, "north", "fractional", mask=None, image=None)
    nib.save(fractions, tmp_path / "north/images/fractional.nii.gz")
    nib.save(fractions, tmp_path / "north/masks/fractional.nii")

    assert found(tmp_path, structures={"organ": [1]}) == {
        ("unreadable", "north/images/broken-image.png"),
        ("unreadable", "north/images/broken-both.png"),
        ("unreadable", "north/masks/broken-both.png"),
        ("unreadable", "north/masks/coloured.png"),
        ("shape-mismatch", "north/masks/small.png"),
        ("shape-mismatch", "north/masks/small-and-strange.png"),
        ("unknown-label", "north/masks/small-and-strange.png"),
        ("empty-mask", "north/masks/small-and-strange.png"),
        ("unknown-label", "north/masks/strange.png"),
        ("empty-mask", "north/masks/strange.png"),
        ("empty-mask", "north/masks/empty.png"),
        ("missing-partner", "north/images/maskless.png"),
        ("missing-partner", "north/masks/imageless.png"),
        ("two-files", "north/images/twice.tif"),
        ("unknown-format", "north/images/photo.jpg"),
        ("empty-site", "south"),
        ("fractional-label", "north/masks/fractional.nii"),
    }


def test_every_fault_of_the_table_is_listed_with_its_line(tmp_path: Path) -> None:
    for case in ("a1", "a2", "b", "c", "d", "unlisted"):
        add(tmp_path, "north", case)
    add(tmp_path, "south", "x")
    (tmp_path / "cases.csv").write_text(
        "site,case,patient,acquired,split\n"
        "north,a1,A,,train\n"
        "north,a2,A,,test\n"
        "north,b,B,last spring,train\n"
        "north,c,C,,validate\n"
        "north,d,D,,\n"
        "north,gone,E,,train\n"
        "east,y,F,,train\n"
        "north,a1,A,,train\n"
        ",q,Q,,train\n"
        "north,r,R,,train,more\n"
        "south,x,X,2024-02-30,train\n"
        "south,x,X,2024-02-03,train\n"
    )
    listed = [(fault.what, fault.sentence) for fault in faults(tmp_path) if str(fault.file) == "cases.csv"]
    table = [sentence for what, sentence in listed if what == "table"]
    assert [sentence.split(":")[0] for sentence in table[:-1]] == [f"line {n}" for n in (4, 5, 9, 10, 11, 12)]
    assert "2024-05-31" in table[0]
    assert "write train or test" in table[1]
    assert "line 2 too" in table[2]
    assert table[-1].startswith("patient D of north has a case without a split")
    assert [what for what, _ in listed if what != "table"] == [
        "missing-case",
        "missing-case",
        "patient-in-both",
        "no-held-out",
    ]
    assert ("unlisted-case", "north/images/unlisted.png") in found(tmp_path)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (b"site,case,patients\n", "unknown column 'patients' (did you mean patient?)"),
        (b"site;case\nnorth;a\n", "split by commas"),
        (b"site,patient\nnorth,a\n", "the column case is missing"),
        (b"site,case\nnorth,\xff\xfe\n", "is not comma-separated UTF-8 text"),
        (b'site,case\nnorth,"a\n', "is not comma-separated UTF-8 text"),
        (b"", "the column site is missing"),
    ],
)
def test_a_table_that_is_no_table_is_a_fault(table: bytes, sentence: str, tmp_path: Path) -> None:
    add(tmp_path, "north", "a")
    (tmp_path / "cases.csv").write_bytes(table)
    assert any(fault.what == "table" and sentence in fault.sentence for fault in faults(tmp_path))


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_root_that_is_missing_or_empty_is_a_fault(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert found(tmp_path / name) == {("missing-root", ".")}


def test_a_mask_whose_header_was_never_written_is_misaligned(tmp_path: Path) -> None:
    voxels = np.zeros((6, 7, 3), dtype=np.uint8)
    voxels[1:3, 2:4, 1] = 1
    for kind, affine in (("images", np.diag([-1.0, -1.0, 2.0, 1.0])), ("masks", np.eye(4))):
        (tmp_path / "north" / kind).mkdir(parents=True)
        nib.save(nib.Nifti1Image(voxels, affine), tmp_path / f"north/{kind}/a.nii.gz")
    assert found(tmp_path) == {("misaligned", "north/masks/a.nii.gz")}


def test_dicom_folders_that_mix_series_are_unreadable(tmp_path: Path) -> None:
    add(tmp_path, "north", "a", image=None)
    (tmp_path / "north/images/a").mkdir()
    for number in range(2):
        (tmp_path / f"north/images/a/{number}.dcm").write_bytes(b"\0" * 128 + b"DICM")
    assert found(tmp_path) == {("unreadable", "north/images/a")}
