"""Augmentation of training slices: the same for every strategy of a run, so that none wins by it alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from monai.data import get_track_meta, set_track_meta
from monai.transforms import RandAdjustContrast, RandAffined, RandBiasField, RandGaussianNoise, RandGaussianSmooth
from torch import Tensor
from torch.nn.functional import pad

from strategies.setting import Augmentation


class Augmenter:
    """Changes the pose and the appearance of slices at random, each slice by itself, with MONAI's transforms.

    `standard`: rotation, zoom and shift of image and mask; then, of the image alone, a gamma curve for each channel
    (so colours shift too), a smooth bias field, blur and noise. `none` gives back what it gets.
    """

    def __init__(self, kind: Augmentation, seed: int) -> None:
        self._on = kind == "standard"
        self._affine = RandAffined(
            keys=("image", "mask"),
            prob=0.5,
            rotate_range=0.2,
            scale_range=(0.2, 0.2),
            translate_range=(3, 3),
            mode=("bilinear", "nearest"),
            padding_mode="border",
        )
        self._gamma = RandAdjustContrast(prob=0.5, gamma=(0.5, 2.0))
        self._rest = (
            RandBiasField(prob=0.3, degree=2, coeff_range=(-0.4, 0.4)),
            RandGaussianSmooth(prob=0.2, sigma_x=(0.25, 1.0), sigma_y=(0.25, 1.0)),
            RandGaussianNoise(prob=0.3, std=0.05),
        )
        self._scanner = (
            RandAdjustContrast(prob=1.0, gamma=(0.5, 2.0)),
            RandBiasField(prob=1.0, degree=2, coeff_range=(-0.4, 0.4)),
        )
        for offset, transform in enumerate((self._affine, self._gamma, *self._rest, *self._scanner)):
            transform.set_random_state(seed=(seed + offset) % 2**32)

    def __call__(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Return changed copies: images float32 [N, C, H, W] in 0..1 and masks float32 [N, S, H, W] of 0 and 1."""
        masks = masks.float()
        if not self._on:
            return images, masks
        with _plain_tensors():
            posed = [self._affine({"image": image, "mask": mask}) for image, mask in zip(images, masks, strict=True)]
            changed = [self._appearance(torch.as_tensor(one["image"])) for one in posed]
            return torch.stack(changed), torch.stack([torch.as_tensor(one["mask"]) for one in posed])

    def shifted(self, images: Tensor) -> Tensor:
        """Return images [N, C, H, W] in 0..1 as one other scanner might have made them all."""
        flat = images.flatten(0, 1)
        with _plain_tensors():
            for transform in self._scanner:
                flat = torch.as_tensor(transform(flat))
        return flat.clamp(0, 1).view_as(images)

    def _appearance(self, image: Tensor) -> Tensor:
        image = torch.cat([torch.as_tensor(self._gamma(channel[None])) for channel in image])
        for transform in self._rest:
            image = torch.as_tensor(transform(image))
        return image.clamp(0, 1).float()


@contextmanager
def _plain_tensors() -> Iterator[None]:
    """Keep MONAI from tracking where slices come from, which takes longer than to change them."""
    before = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(before)


def moved(images: Tensor, masks: Tensor, reach: float, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return slices moved at random, each by whole pixels so that its grain stays as it is; edges are repeated.

    images: float32 [N, C, H, W]; masks: [N, S, H, W], returned as float32; reach: how far at most, each way, as a share
    of the shorter side
    """
    both = torch.cat([images, masks.float()], dim=1)
    count, height, width = len(both), *both.shape[-2:]
    pixels = round(reach * min(height, width))
    if pixels:
        padded = pad(both, (pixels,) * 4, mode="replicate")
        top, left = torch.randint(2 * pixels + 1, (2, count, 1, 1), generator=draws)
        rows, columns = top + torch.arange(height)[:, None], left + torch.arange(width)
        both = padded[torch.arange(count)[:, None, None], :, rows, columns].movedim(-1, 1)
    return both[:, : images.shape[1]], both[:, images.shape[1] :]
