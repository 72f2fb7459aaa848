"""Turn the two files of a case into a `Case`: the same orientation, slices that hold something, one size, 0..1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from nibabel.affines import apply_affine
from nibabel.orientations import io_orientation
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate, pad

from sites.sources.folder.config import FolderConfig
from sites.sources.folder.faults import Fault, raise_serious
from sites.sources.folder.layout import Entry
from sites.sources.folder.reading import Unreadable, Volume, read
from sites.stream import Case

LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)


def prepare(entry: Entry, config: FolderConfig) -> Case:
    """Read a case.

    Raises:
        SourceError: a file that is unreadable, or an image and a mask that don't belong together
    """
    image, mask, faults = examine(entry.image, entry.mask, config)
    raise_serious(faults, config.check_command)
    assert image is not None
    assert mask is not None
    return _case(entry.patient, image, mask, config)


def examine(image: Path, mask: Path, config: FolderConfig) -> tuple[Volume | None, Volume | None, list[Fault]]:
    """Read both files of a case, turned the way that the settings ask for, and say all that is wrong with them."""
    faults: list[Fault] = []
    seen = _try(image, faults, labels=False)
    drawn = _try(mask, faults, labels=True)
    if seen is not None and drawn is not None:
        if elsewhere := _lies_elsewhere(seen, drawn):
            faults.append(Fault(mask, "misaligned", elsewhere))
        # A picture knows no orientation; its partner is then taken as stored, too.
        if seen.affine is not None and drawn.affine is not None:
            seen, drawn = seen.facing(config.axis), drawn.facing(config.axis)
        if seen.voxels.shape[:3] != drawn.voxels.shape[:3]:
            sentence = (
                f"has {_sizes(drawn)} (slices x rows x columns), its image {_sizes(seen)}; draw it on the image's grid"
            )
            faults.append(Fault(mask, "shape-mismatch", sentence))
    if drawn is not None:
        faults += _label_faults(mask, drawn, config)
    return seen, drawn, faults


def _try(path: Path, faults: list[Fault], *, labels: bool) -> Volume | None:
    try:
        volume = read(path, labels=labels)
        if labels and volume.voxels.ndim == 4:
            if np.ptp(volume.voxels, axis=-1).any():
                raise Unreadable(path, "is a mask in colours; save one grey value per structure")
            volume = Volume(volume.voxels[..., 0], volume.spacing, volume.affine)
    except Unreadable as error:
        faults.append(Fault(path, "unreadable", error.reason))
        return None
    return volume


def _sizes(volume: Volume) -> str:
    return " x ".join(str(size) for size in volume.voxels.shape[:3])


def _lies_elsewhere(image: Volume, mask: Volume) -> str | None:
    """Say where a mask's header can't be right: its axes run otherwise, and that puts it elsewhere in the patient.

    Headers that only disagree about the origin are common and harmless, for the grids still match; but to turn a
    mask by a header that was never written (an identity matrix, say) would mirror it silently.
    """
    if image.affine is None or mask.affine is None:
        return None
    if np.array_equal(io_orientation(image.affine), io_orientation(mask.affine)):
        return None
    middles = (apply_affine(v.affine, (np.array(v.voxels.shape[:3]) - 1) / 2) for v in (image, mask))
    apart = float(np.linalg.norm(np.subtract(*middles)))
    if apart <= max(image.spacing):
        return None
    return (
        f"runs along other axes than its image and lies {apart:.0f} mm beside it; "
        "save it with the image's affine, space directions or orientation"
    )


def _label_faults(path: Path, mask: Volume, config: FolderConfig) -> list[Fault]:
    values = np.unique(mask.voxels)
    if not (np.isfinite(values).all() and np.array_equal(values, np.rint(values))):
        return [Fault(path, "fractional-label", "holds fractions; resample masks to the nearest value, never linearly")]
    faults: list[Fault] = []
    listed = {value for labels in config.values.values() if labels != "any" for value in labels}
    strange = set(values.astype(int).tolist()) - listed - {config.background}
    if strange and "any" not in config.values.values():
        sentence = (
            f"holds the values {_some(strange)}, which are in no structure; add them to structures, or clear them"
        )
        faults.append(Fault(path, "unknown-label", sentence))
    if not any(_belongs(values, labels, config).any() for labels in config.values.values()):
        faults.append(Fault(path, "empty-mask", "holds no structure; draw it, or remove the case"))
    return faults


def _some(values: set[int]) -> str:
    shown = sorted(values)
    return ", ".join(map(str, shown[:8])) + (", ..." if len(shown) > 8 else "")


def _belongs(voxels: NDArray[Any], labels: object, config: FolderConfig) -> NDArray[np.bool_]:
    return voxels != config.background if labels == "any" else np.isin(voxels, np.asarray(labels))


def _case(patient: str, image: Volume, mask: Volume, config: FolderConfig) -> Case:
    structures = np.stack([_belongs(mask.voxels, labels, config) for labels in config.values.values()], axis=1)
    chosen = _choose(np.flatnonzero(structures.any(axis=(1, 2, 3))), len(structures), config.slices)
    images, rows, columns = _square(_channels(_normal(image.voxels, chosen, config), config), image.spacing, config)
    masks, _, _ = _square(torch.from_numpy(structures[chosen].astype(np.uint8)), image.spacing, config)
    apart = image.spacing[0] * (float(np.diff(chosen).mean()) if len(chosen) > 1 else 1.0)
    return Case(patient=patient, images=images, masks=masks, spacing=(apart, rows, columns))


def _choose(filled: NDArray[np.intp], total: int, most: int) -> NDArray[np.intp]:
    """Spread at most `most` slices over those that hold a structure; over all, where none does."""
    among = filled if len(filled) else np.arange(total)
    chosen: NDArray[np.intp] = among[np.linspace(0, len(among) - 1, min(most, len(among))).round().astype(int)]
    return chosen


def _normal(voxels: NDArray[Any], chosen: NDArray[np.intp], config: FolderConfig) -> Tensor:
    """Return the chosen slices in 0..1; the range is the whole volume's, not theirs."""
    if voxels.ndim == 4 and voxels.dtype == np.uint8:
        return torch.from_numpy(voxels[chosen].astype(np.float32) / 255.0)
    low, high = np.nanpercentile(voxels, config.percentiles)
    part = (voxels[chosen].astype(np.float32) - low) / max(high - low, np.finfo(np.float32).tiny)
    return torch.from_numpy(np.nan_to_num(part).clip(0.0, 1.0).astype(np.float32))


def _channels(images: Tensor, config: FolderConfig) -> Tensor:
    """Turn [slices, rows, columns] or [slices, rows, columns, 3] into [slices, channels, rows, columns]."""
    if images.ndim == 3:
        return images[:, None].expand(-1, config.channels, -1, -1)
    colour = images.movedim(-1, 1)
    return colour if config.channels == 3 else torch.einsum("schw,c->shw", colour, torch.tensor(LUMINANCE))[:, None]


def _square(pixels: Tensor, spacing: tuple[float, float, float], config: FolderConfig) -> tuple[Tensor, float, float]:
    """Pad [N, C, rows, columns] to a square in millimetres, resample it to the size, return it with its spacing."""
    _, down, across = spacing
    rows, columns = pixels.shape[2:]
    side = max(rows * down, columns * across)
    tall, wide = max(rows, round(side / down)), max(columns, round(side / across))
    top, left = (tall - rows) // 2, (wide - columns) // 2
    padded = pad(pixels, (left, wide - columns - left, top, tall - rows - top))
    shape = (config.size, config.size)
    if pixels.is_floating_point():
        # Antialiasing overshoots by rounding errors.
        resized = interpolate(padded, size=shape, mode="bilinear", antialias=True).clamp(0.0, 1.0)
    else:
        resized = interpolate(padded, size=shape, mode="nearest-exact")
    return resized, tall * down / config.size, wide * across / config.size
