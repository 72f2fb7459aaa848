"""The slices that rebuilt images are held against, and how near a rebuilt image or an amplitude comes to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from simulator.exposure.statistics import likeness
from sites.stream import Case
from strategies import feddg
from strategies.common.segmenter import slices_of

# Amplitudes that lie nearer than this, relative to their size, are of the same image.
SAME = 1e-4


@dataclass(frozen=True)
class Slice:
    """One slice of a case, by its place."""

    case: Case
    place: int

    @property
    def image(self) -> Tensor:
        return self.case.images[self.place]

    @property
    def mask(self) -> Tensor:
        return self.case.masks[self.place].float()

    def of(self, other: Case) -> Slice:
        """Return the slice of another case that lies at this place, or its last one."""
        return Slice(other, min(self.place, len(other.images) - 1))


def middles(cases: Sequence[Case]) -> list[Slice]:
    """Return the slice in the middle of each case."""
    return [Slice(case, len(case.images) // 2) for case in cases]


def sources_of(left: Tensor, cases: Sequence[Case]) -> list[Slice | None]:
    """Return of which slice of the cases each of some amplitudes [N, C, h, w] are; None where of none."""
    slices = [Slice(case, place) for case in cases for place in range(len(case.images))]
    near, which = distances(left, slices_of(cases)[0]).min(1)
    return [slices[row] if distance < SAME else None for distance, row in zip(near, which.tolist(), strict=True)]


def distances(left: Tensor, images: Tensor) -> Tensor:
    """Return how far amplitudes [N, C, h, w] are from those of images [M, C, H, W], relative to the former: [N, M]."""
    own = feddg.low_amplitudes(images, *left.shape[-2:]).flatten(1)
    apart: Tensor = torch.cdist(left.flatten(1), own) / left.flatten(1).norm(dim=1, keepdim=True)
    return apart


def resemble(made: Tensor, slices: Sequence[Slice]) -> Tensor:
    """Return the correlation [N] of each rebuilt image with its slice, the better of both ways up."""
    images = torch.stack([one.image for one in slices])
    return torch.maximum(likeness(made, images).diagonal(), likeness(made.flip(-2, -1), images).diagonal())
