"""The sentences of the report say what the numbers say."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from simulator.metrics import METRICS, Metric, ScoreMatrix
from simulator.report import words
from simulator.report.view import RunView

DICE, HD95, _ = METRICS


def matrix(values: list[list[float]], arrivals: dict[str, tuple[int, ...]], metric: Metric = DICE) -> ScoreMatrix:
    return ScoreMatrix(np.array(values), tuple(arrivals), arrivals, higher_is_better=metric.higher_is_better)


@pytest.mark.parametrize(
    ("value", "metric", "signed", "text"),
    [
        (0.8124, DICE, False, ".812"),
        (1.0, DICE, False, "1.000"),
        (0.0, DICE, True, ".000"),
        (-0.0004, DICE, True, ".000"),
        (-0.101, DICE, True, "\N{MINUS SIGN}.101"),
        (0.101, DICE, True, "+.101"),
        (4.314, HD95, False, "4.31"),
        (0.5, HD95, True, "+0.50"),
        (math.inf, HD95, False, "∞"),
        (-math.inf, HD95, True, "\N{MINUS SIGN}∞"),
        (math.nan, DICE, True, "\N{EN DASH}"),
    ],
)
def test_numbers(value: float, metric: Metric, signed: bool, text: str) -> None:
    assert words.number(value, metric, signed=signed) == text


def test_sizes_have_three_digits() -> None:
    assert [words.size(count) for count in (0, 912, 59_234, 235_000, 999_600, 10_612_000, 4.2e12)] == [
        *("0 B", "912 B", "59.2 kB", "235 kB", "1.0 MB", "10.6 MB", "4200 GB")
    ]


def test_the_verdict_tells_of_seen_sites_of_what_was_lost_and_of_unseen_sites() -> None:
    run = matrix([[0, 0, 0], [0.9, 0.4, 0.3], [0.7, 0.8, 0.6]], {"A": (1,), "B": (2,), "U": ()})
    assert words.verdict(run, DICE) == (
        "After 2 steps the network scores .750 Dice on the 2 sites it has seen, "
        ".100 less than when each had just been learnt; on 1 unseen site .600."
    )


@pytest.mark.parametrize(
    ("values", "arrivals", "metric", "text"),
    [
        (
            [[0], [0.8]],
            {"A": (1,)},
            DICE,
            "After 1 step the network scores .800 Dice on the 1 site it has seen.",
        ),
        (
            [[0], [0.8], [0.8]],
            {"A": (1,)},
            DICE,
            "After 2 steps the network scores .800 Dice on the 1 site it has seen, as much as when it had just been "
            "learnt.",
        ),
        (
            [[0, 0], [5.0, 9.0], [7.0, 3.0]],
            {"A": (1,), "B": (2,)},
            HD95,
            "After 2 steps the network scores 5.00 mm HD95 on the 2 sites it has seen, 1.00 mm more than when each "
            "had just been learnt.",
        ),
        (
            [[0, 0], [math.nan, 0.5]],
            {"A": (1,), "U": ()},
            DICE,
            "After 1 step the network has no Dice on the 1 site it has seen, as a score is missing; on 1 unseen "
            "site .500.",
        ),
        ([[0.1]], {"A": ()}, DICE, "No step has been scored."),
    ],
)
def test_other_verdicts(
    values: list[list[float]], arrivals: dict[str, tuple[int, ...]], metric: Metric, text: str
) -> None:
    assert words.verdict(matrix(values, arrivals, metric), metric) == text


def test_the_heat_map_names_best_worst_and_the_greatest_loss() -> None:
    run = matrix([[0, 0, 0], [0.9, 0.4, 0.3], [0.7, 0.8, 0.6]], {"A": (1,), "B": (2,), "U": ()})
    assert words.heat_finding(run, DICE) == (
        "Dice by step and site. After step 2 the best is B (.800), the worst U (.600). "
        "Since it was learnt, A got worse the most, by .200."
    )


def test_of_distances_the_least_is_best() -> None:
    run = matrix([[9, 9], [5.0, 9.0], [4.0, 6.0]], {"A": (1,), "B": (2,)}, HD95)
    assert words.heat_finding(run, HD95) == (
        "HD95 by step and site. After step 2 the best is A (4.00 mm), the worst B (6.00 mm). "
        "No site got worse since it was learnt."
    )


def test_the_curves_tell_where_the_means_went() -> None:
    run = matrix([[0, 0, 0], [0.9, 0.4, 0.3], [0.7, 0.8, 0.6]], {"A": (1,), "B": (2,), "U": ()})
    assert words.seen_mean(run) == pytest.approx([0.9, 0.75])  # B counts from its arrival on
    assert words.curve_finding(run, DICE) == (
        "Dice over the steps. The mean over the sites seen so far goes from .900 to .750, "
        "over the unseen sites goes from .300 to .600."
    )


def test_the_timeline_names_arrivals(make_view: Callable[..., RunView]) -> None:
    assert words.timeline_finding(make_view(seen=3, steps=2, unseen=1)) == (
        "Arrivals by step. step 1: Aalen and Bergen; step 2: Chania. Only tested on, never trained on: Dresden."
    )


def test_releases_say_whether_patients_data_left(view: RunView) -> None:
    assert words.release_finding(view) == (
        "4 sites released 18.6 MB for learning, as diffusion and prompt; 6 sites released 14.4 kB of scores. "
        "No image and no label left any site."
    )
    bare = replace(view, releases=view.releases.replace({"kind": {"PROMPT": "IMAGE"}}))
    assert words.release_finding(bare).endswith("Patients' data were among it: image.")
    assert words.release_finding(replace(view, releases=view.releases[:0])) == "Nothing left any site."
