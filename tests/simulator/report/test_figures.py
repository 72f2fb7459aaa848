"""The figures show every site and step, carry their finding, and take their colours from the page."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from markupsafe import Markup
from PIL import Image

from simulator import report
from simulator.metrics import METRICS, ScoreMatrix
from simulator.report import figures, ink, labels, pictures
from simulator.report.view import RunView, Sample

DICE = METRICS[0]


def texts(drawing: Markup) -> list[str]:
    return re.findall(r">([^<>\n]+)</text>", drawing)


def test_the_heat_map_shows_every_score_and_outlines_arrivals(view: RunView) -> None:
    matrix = view.matrix("dice")
    drawing = figures.heat_map(matrix, DICE)
    assert [site for site in texts(drawing) if site in view.sites] == list(view.sites)
    assert len([text for text in texts(drawing) if re.fullmatch(r"\.\d{3}", text)]) == matrix.values.size
    assert drawing.count("stroke: var(--ink)") == sum(len(steps) for steps in matrix.arrivals.values())


def test_better_is_stronger_for_distances_too() -> None:
    near = ScoreMatrix(np.array([[99.0, 99.0], [1.0, 9.0]]), ("A", "B"), {"A": (1,), "B": (1,)}, higher_is_better=False)
    drawing = figures.heat_map(near, METRICS[1])
    order = [drawing.index(f"fill: var(--on-heat-{level})") for level in (8, 0)]
    assert drawing.index(">1.00<") > order[0]
    assert drawing.count("var(--on-heat-0)") == 3  # both untrained scores and B's


@pytest.mark.parametrize("hole", [np.nan, np.inf])
def test_holes_and_infinities_are_drawn_as_such(view: RunView, hole: float) -> None:
    values = view.matrix("hd95").values.copy()
    values[2, 1] = values[-1, 0] = hole
    matrix = ScoreMatrix(values, view.sites, view.arrivals, higher_is_better=False)
    assert texts(figures.heat_map(matrix, METRICS[1])).count("∞" if np.isinf(hole) else "\N{EN DASH}") == 2
    assert "Bergen" in texts(figures.curves(matrix, METRICS[1]))


def test_names_are_drawn_as_they_are(view: RunView) -> None:
    name = "北京 $x_2$ <b>"
    matrix = ScoreMatrix(np.array([[0.1], [0.2], [0.4]]), (name,), {name: (1,)})
    for drawing in (figures.heat_map(matrix, DICE), figures.curves(matrix, DICE)):
        assert "北京 $x_2$ &lt;b&gt;" in texts(drawing)
        assert 'aria-label="Dice' in drawing


def test_end_labels_keep_apart() -> None:
    gaps = np.diff(labels.spread([0.1, 0.5, 0.5, 0.51, 0.9], 0.1))
    assert gaps.min() >= 0.1 - 1e-9
    assert labels.spread([0.1, 0.5], 0.1) == [0.1, 0.5]


def test_the_timeline_breaks_where_a_site_is_offline() -> None:
    assert list(figures._stretches([1, 2, 4, 6, 7])) == [(1, 2), (4, 4), (6, 7)]


def test_releases_are_drawn_by_kind(view: RunView) -> None:
    drawn = texts(figures.releases(view))
    assert {"prompt", "diffusion", "score", "10.7 MB", "2.4 kB"} <= set(drawn)
    odd = replace(view, releases=view.releases.replace({"kind": {"PROMPT": "novel"}}))
    assert "var(--other)" in figures.releases(odd)


def test_a_figure_takes_all_its_colours_from_the_page(make_view: Callable[..., RunView]) -> None:
    view = make_view(2, 3, 1)
    matrix = view.matrix("dice")
    css = Path(report.__file__).with_name("page.css").read_text()
    for drawing in (
        figures.heat_map(matrix, DICE),
        figures.curves(matrix, DICE),
        figures.timeline(view),
        figures.releases(view),
    ):
        assert not re.findall(r"#[0-9a-f]{6}\b", drawing)
        for variable in re.findall(r"var\((--[\w-]+)\)", drawing):
            assert css.count(f"{variable}: #") == 2, f"{variable} must have a value by day and by night"


def test_the_same_run_gives_the_same_figure(view: RunView) -> None:
    assert figures.timeline(view) == figures.timeline(view)


def test_values_can_be_read_on_their_cells_by_day_and_by_night() -> None:
    css = Path(report.__file__).with_name("page.css").read_text()
    for theme in css.split("@media (prefers-color-scheme: dark)")[:2]:
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", theme))
        for level in range(ink.HEAT_LEVELS):
            assert contrast(colours[f"heat-{level}"], colours[f"on-heat-{level}"]) >= 4.5, f"level {level}"
        for text in ("ink", "muted", "link"):
            assert contrast(colours["card"], colours[text]) >= 4.5, text
        for number in range(ink.LINES):
            assert contrast(colours["card"], colours[f"line-{number}"]) >= 3, f"line {number}"


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2, 1..21."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("fill", [0, 1])
@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3)])
def test_empty_and_full_masks_are_pictured(fill: int, shape: tuple[int, ...]) -> None:
    mask = np.full((2, 20, 30), fill, dtype=np.uint8)
    start, data = pictures.picture(np.full(shape, 0.5), mask, mask).split(",")
    assert start == "data:image/webp;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (264, 176)


def test_the_overlap_of_a_slice_is_its_mean_dice() -> None:
    reference = np.zeros((3, 2, 2), np.uint8)
    prediction = np.zeros((3, 2, 2), np.uint8)
    reference[0, 0] = 1  # two pixels, of which one is found and none too many: 2 * 1 / (2 + 1)
    prediction[0, 0, 0] = 1
    prediction[1, 0, 0] = 1  # nothing there: 0; and the third structure is rightly left empty: 1
    assert pictures.overlap(reference, prediction) == pytest.approx((2 / 3 + 0 + 1) / 3)


@pytest.mark.parametrize(
    ("steps", "arrivals", "chosen"),
    [
        ((1, 2, 3, 4), (1,), (1, 2, 4)),
        ((1, 2, 3, 4), (3,), (3, None, 4)),
        ((1, 2, 3, 4), (4,), (None, None, 4)),
        (range(1, 11), (), (1, 5, 10)),
        ((1, 2), (), (1, 2, None)),
        ((), (1,), (None, None, None)),
    ],
)
def test_samples_start_where_a_site_arrived(
    steps: tuple[int, ...], arrivals: tuple[int, ...], chosen: tuple[int | None, ...]
) -> None:
    mask = np.zeros((1, 2, 2), np.uint8)
    sample = Sample(site="A", image=np.zeros((2, 2)), reference=mask, predictions=dict.fromkeys(steps, mask))
    assert pictures.shown_steps(sample, arrivals, max([4, *steps])) == chosen
