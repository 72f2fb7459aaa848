"""Draws sample slices with the outlines of reference and prediction, as WebP for the report."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simulator.report.view import Sample

STRUCTURE_COLOURS = ("#ff7a00", "#19b5ff", "#ff3fb4", "#8fdc14", "#a97bff", "#e8c400")
REFERENCE_COLOUR = "#ffffff"
_PIXELS = 264

Dash = str | tuple[int, tuple[float, ...]]


def picture(
    image: npt.NDArray[np.floating],
    reference: npt.NDArray[np.uint8] | None = None,
    prediction: npt.NDArray[np.uint8] | None = None,
) -> str:
    """Return an image [H, W] or [H, W, 3] in 0..1 as a WebP data URI, 264 pixels wide.

    Masks are [structures, H, W]: the reference is outlined white and solid, the prediction dashed, in the
    structure's colour.
    """
    rows, columns = image.shape[:2]
    figure = Figure(figsize=(_PIXELS / 100, _PIXELS / 100 * rows / columns), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, aspect="auto")
    for structure in range(0 if reference is None or prediction is None else len(reference)):
        assert reference is not None
        assert prediction is not None
        colour = STRUCTURE_COLOURS[structure % len(STRUCTURE_COLOURS)]
        _outline(axes, reference[structure], "#00000080", 2.8, "solid")
        _outline(axes, reference[structure], REFERENCE_COLOUR, 1.6, "solid")
        _outline(axes, prediction[structure], colour, 2.0, (0, (3.2, 1.6)))
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    buffer = io.BytesIO()
    # A sixth of the size of PNG; what is shown is scaled down and drawn over in any case.
    figure.savefig(buffer, format="webp", pil_kwargs={"quality": 90})
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _outline(axes: Axes, mask: npt.NDArray[np.uint8], colour: str, width: float, style: Dash) -> None:
    if not mask.any():
        return
    # A rim of zeros closes the outline of a structure that touches the picture's edge.
    padded = np.pad(mask.astype(float), 1)
    across, down = np.arange(-1, mask.shape[1] + 1), np.arange(-1, mask.shape[0] + 1)
    lines = axes.contour(across, down, padded, levels=[0.5], colors=colour, linewidths=width)
    lines.set_linestyle(style)


def overlap(reference: npt.NDArray[np.uint8], prediction: npt.NDArray[np.uint8]) -> float:
    """Mean Dice (0..1) over the structures [S, H, W] of one slice; 1 for a structure that neither holds."""
    both = (reference.astype(bool) & prediction.astype(bool)).sum(axis=(1, 2))
    total = reference.astype(bool).sum(axis=(1, 2)) + prediction.astype(bool).sum(axis=(1, 2))
    return float(np.where(total == 0, 1.0, 2 * both / np.maximum(total, 1)).mean())


def shown_steps(sample: Sample, arrivals: Sequence[int], last: int) -> tuple[int | None, int | None, int | None]:
    """Choose the steps of a sample to show: first (from the site's first arrival on), midway, last; None for a gap."""
    start = arrivals[0] if arrivals else 1
    steps = sorted(step for step in sample.predictions if start <= step <= last)
    final = last if last in steps else None
    earlier = [step for step in steps if step != last]
    if not earlier:
        return None, None, final
    middle = earlier[len(earlier) // 2] if len(earlier) > 1 else None
    return earlier[0], middle, final
