"""Public data sets are read as they are handed out: sites, pairs, splits, and what the values of their masks mean."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sites.errors import SourceError
from sites.sources.folder import FolderConfig, check, open_folder

SAML = {"layout": "saml", "size": 16, "structures": {"prostate": "any"}}
DOFE = {
    **{"layout": "dofe", "size": 16, "slices": 1, "channels": 3},
    **{"structures": {"cup": "0-50", "disc": "0-200"}, "background": 255},
}


def config(root: Path, **settings: object) -> FolderConfig:
    return FolderConfig.model_validate({"root": root, **settings})


def test_prostate_cases_are_paired_and_split_by_patient(real_roots: dict[str, Path]) -> None:
    source = open_folder("prostate", config(real_roots["prostate-real"], **SAML), 0)
    assert source.sites == ("RUNMC", "BMC", "I2CVB", "UCL", "BIDMC", "HK")
    trained, held_out = source.train("BMC", 0, 22), source.held_out("BMC", 99)
    assert (len(trained), len(held_out)) == (22, 8)
    assert len({case.patient for case in (*trained, *held_out)}) == 30
    assert {case.masks.shape[0] for case in trained} == {2}  # the slice without a structure is left out
    assert trained[0].masks.unique().tolist() == [0, 1]  # both zones are the gland
    assert trained[0].spacing[0] == pytest.approx(3.0)


def test_fundus_cases_are_split_as_handed_out_and_the_cup_lies_in_the_disc(real_roots: dict[str, Path]) -> None:
    source = open_folder("fundus", config(real_roots["fundus-real"], **DOFE), 0)
    assert source.sites == ("Domain1", "Domain2", "Domain3", "Domain4")
    for site in ("Domain1", "Domain4"):  # grey masks, and masks in colour
        (case,) = source.train(site, 49, 1)
        cup, disc = case.masks[0]
        assert (int(cup.sum()), int(disc.sum())) == (4 * 4, 12 * 12 - 12)
        assert bool((cup <= disc).all())
        assert len(source.held_out(site, 99)) == 50


def test_files_without_a_partner_and_sites_that_are_not_there(real_roots: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(real_roots["prostate-real"] / "HK", tmp_path / "HK")
    assert open_folder("prostate", config(tmp_path, **SAML), 0).sites == ("HK",)
    (tmp_path / "HK" / "Case00_segmentation.nii.gz").unlink()
    (tmp_path / "HK" / "Case04.nii.gz").unlink()
    with pytest.raises(SourceError, match=r"Case00.nii.gz: missing-partner: has no mask; add Case00_segmentation"):
        open_folder("prostate", config(tmp_path, **SAML), 0)
    found = [fault for checked in check(config(tmp_path, **SAML)) for fault in checked.faults]
    assert {(fault.what, fault.file.name) for fault in found} == {
        ("missing-partner", "Case00.nii.gz"),
        ("missing-partner", "Case04_segmentation.nii.gz"),
    }


def test_a_broken_file_is_named_with_the_command_that_lists_all(real_roots: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(real_roots["fundus-real"] / "Domain1", tmp_path / "Domain1")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "Domain1" / "train" / "ROIs" / "mask" / "V0000.png")
    source = open_folder("fundus", config(tmp_path, **DOFE), 0)
    with pytest.raises(SourceError, match=r"V0000.png: shape-mismatch: .*sites check .* --set layout=dofe` lists"):
        source.train("Domain1", 0, 1)


@pytest.mark.parametrize("given", ["50-0", "0-", "few"])
def test_a_range_that_is_none_is_refused(given: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="structures"):
        config(tmp_path, structures={"cup": given})
