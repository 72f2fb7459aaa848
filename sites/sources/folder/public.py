"""Find the cases of public data sets in the folders that they come in, so that nothing has to be moved or renamed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from sites.sources.folder.faults import Fault
from sites.sources.folder.layout import UNDATED, Entry, Survey, split
from sites.sources.folder.reading import stem

SAML_SITES = ("RUNMC", "BMC", "I2CVB", "UCL", "BIDMC", "HK")
DOFE_SITES = ("Domain1", "Domain2", "Domain3", "Domain4")


def saml(root: Path, held_out: float) -> Survey:
    """Look through the six-site prostate MRI of Liu et al. (SAML, MICCAI 2020): ROOT/<site>/Case00.nii.gz.

    Its mask is Case00_segmentation.nii.gz, in capitals at some sites. Numbers have holes. A case is a patient.
    """
    faults: list[Fault] = []
    entries: list[Entry] = []
    for site in _sites(root, SAML_SITES, faults):
        files = {path.name.lower(): path for path in (root / site).glob("*.nii.gz")}
        images = {
            match[1]: path for name, path in files.items() if (match := re.fullmatch(r"(case\d+)\.nii\.gz", name))
        }
        masks = {name.removesuffix("_segmentation.nii.gz"): files[name] for name in files if "_segmentation." in name}
        cases = _paired(images, masks, "{}_segmentation.nii.gz", faults)
        aside = split(site, cases, held_out) if cases else frozenset()
        entries += [_entry(site, case, images[case], masks[case], held_out=case in aside) for case in cases]
    return Survey(tuple(entries), faults)


def dofe(root: Path, _held_out: float) -> Survey:
    """Look through the four-site fundus photographs of Wang et al. (DoFE, IEEE TMI 2020), split by their makers.

    ROOT/Domain1/train/ROIs/image/<case>.png, with its mask of the same name in `mask`, and the same under `test`.
    Domain 1 is Drishti-GS, 2 RIM-ONE r3, 3 and 4 the training and validation photographs of REFUGE. Grey codes of the
    masks: up to 50 the cup, up to 200 the rest of the disc, above the background.
    """
    faults: list[Fault] = []
    entries: list[Entry] = []
    for site in _sites(root, DOFE_SITES, faults):
        for side in ("train", "test"):
            images, masks = (_pictures(root / site / side / "ROIs" / name) for name in ("image", "mask"))
            cases = _paired(images, masks, "mask/{}.png", faults)
            entries += [_entry(site, case, images[case], masks[case], held_out=side == "test") for case in cases]
    return Survey(tuple(entries), faults)


def _sites(root: Path, known: tuple[str, ...], faults: list[Fault]) -> Iterator[str]:
    """Yield the sites that are there; a site that is not is no fault, for a schedule may do without it."""
    found = [site for site in known if (root / site).is_dir()]
    if not root.is_dir():
        faults.append(Fault(root, "missing-root", f"is not a folder; set root to the one that holds {known[0]}"))
    elif not found:
        faults.append(
            Fault(root, "missing-root", f"holds none of {', '.join(known)}; set root to the folder above them")
        )
    yield from found


def _pictures(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.png"))}


def _paired(images: dict[str, Path], masks: dict[str, Path], mask: str, faults: list[Fault]) -> list[str]:
    """Return the names of the cases with both files, in order, and note each file without its partner."""
    for case in sorted(images.keys() - masks.keys()):
        wanted = mask.format(stem(images[case]))
        faults.append(Fault(images[case], "missing-partner", f"has no mask; add {wanted}, or remove it"))
    for case in sorted(masks.keys() - images.keys()):
        faults.append(Fault(masks[case], "missing-partner", "has no image; add it, or remove the mask"))
    return sorted(images.keys() & masks.keys())


def _entry(site: str, case: str, image: Path, mask: Path, *, held_out: bool) -> Entry:
    return Entry(site=site, case=case, image=image, mask=mask, patient=case, acquired=UNDATED, held_out=held_out)
