"""The harness's own exchange with a site: the segmenter comes down, scores of each held-out case go up."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from sites.stream import Case, Shape
from sites.wire import Kind, Payload, Weights

METRICS = ("dice", "hd95", "asd")


@dataclass(frozen=True, kw_only=True)
class ScoreRequest(Payload):
    """What comes down to a site: the segmenter to be scored."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]


@dataclass(frozen=True, kw_only=True)
class Scores(Payload):
    """What leaves a site: a row for each held-out case, in a fixed order, blank beyond those that the site has.

    values: float32 [cases, structures, metrics], the metrics being Dice, HD95 (mm) and ASD (mm)
    held: int64 [1], the number of rows that are not blank
    """

    values: Annotated[Tensor, Kind.SCORE]
    held: Annotated[Tensor, Kind.SCORE]


def blank_scores(shape: Shape, cases: int, device: str = "meta") -> Scores:
    """Return scores that hold nothing, for at most `cases` held-out cases."""
    return Scores(
        values=torch.zeros(cases, len(shape.structures), len(METRICS), device=device),
        held=torch.zeros(1, dtype=torch.int64, device=device),
    )


def score_cases(network: nn.Module, cases: Sequence[Case], shape: Shape, most: int) -> Scores:
    """Score a segmenter (images [N, C, H, W] to logits [N, S, H, W]) on held-out cases, at most `most` of them."""
    scores = blank_scores(shape, most, "cpu")
    for row, case in enumerate(cases):
        scores.values[row] = score_case(predict(network, case.images), case.masks, case.spacing)
    scores.held[0] = len(cases)
    return scores


@torch.no_grad()
def predict(network: nn.Module, images: Tensor) -> Tensor:
    """Return the masks, uint8 [N, S, H, W], that a segmenter finds in images [N, C, H, W]."""
    network.eval()
    logits: Tensor = network(images)
    return (logits > 0).to(torch.uint8)


def score_case(prediction: Tensor, reference: Tensor, spacing: tuple[float, float, float]) -> Tensor:
    """Return float32 [structures, metrics] of one case's masks, uint8 [slices, structures, height, width].

    The case is scored as one volume; a single slice, as an image. HD95 is the larger of the two directed 95th
    percentiles of surface distance, ASD the mean over both surfaces, both in millimetres (MONAI's definitions).
    Where both masks are empty Dice is 1 and the distances are 0; where one is, Dice is 0 and both distances are
    the diagonal of the volume.
    """
    flat = len(reference) == 1
    steps = spacing[1:] if flat else spacing
    predicted, referred = ((mask[0] if flat else mask.transpose(0, 1)).float() for mask in (prediction, reference))
    diagonal = sum((size * step) ** 2 for size, step in zip(referred.shape[1:], steps, strict=True)) ** 0.5
    return torch.stack([_structure(p, r, steps, diagonal) for p, r in zip(predicted, referred, strict=True)])


def _structure(predicted: Tensor, referred: Tensor, spacing: tuple[float, ...], diagonal: float) -> Tensor:
    """Score one structure: binary float masks [*volume]."""
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance
    from monai.metrics.meandice import compute_dice
    from monai.metrics.surface_distance import compute_average_surface_distance

    found, present = bool(predicted.any()), bool(referred.any())
    if not (found and present):
        return torch.tensor([0.0, diagonal, diagonal]) if found or present else torch.tensor([1.0, 0.0, 0.0])
    pair = {"y_pred": predicted[None, None], "y": referred[None, None]}
    apart = {**pair, "include_background": True, "spacing": list(spacing)}
    dice = compute_dice(**pair)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI 1.6 calls itself with an option it has deprecated
        hd95 = compute_hausdorff_distance(**apart, percentile=95)
        asd = compute_average_surface_distance(**apart, symmetric=True)
    return torch.stack([dice.flatten()[0], hd95.flatten()[0], asd.flatten()[0]]).float()
