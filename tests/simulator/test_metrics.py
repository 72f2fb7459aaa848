"""Pins every formula of continual learning to matrices small enough to work out by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.metrics import ScoreMatrix

# Three sites in sequence, one never seen.    A    B    C    U
SEQUENCE = ScoreMatrix(
    values=np.array(
        [
            [0.10, 0.20, 0.10, 0.10],  # untrained
            [0.80, 0.50, 0.40, 0.30],  # A arrives
            [0.85, 0.90, 0.50, 0.40],  # B arrives
            [0.60, 0.70, 0.95, 0.55],  # C arrives
        ]
    ),
    sites=("A", "B", "C", "U"),
    arrivals={"A": (1,), "B": (2,), "C": (3,), "U": ()},
)


def test_a_sequence_of_three_sites() -> None:
    expected = {
        "accuracy": (0.60 + 0.70 + 0.95) / 3,  # .75
        "unseen": 0.55,
        "plasticity": (0.80 + 0.90 + 0.95) / 3,  # the diagonal
        "backward_transfer": (-0.20 - 0.20) / 2,  # A: .60 - .80; B: .70 - .90; over T - 1 sites, not T
        "forgetting": (0.25 + 0.20) / 2,  # A: max(.80, .85) - .60; B: .90 - .70
        "forward_transfer": (0.30 + 0.40) / 2,  # B: .50 - .20; C: .50 - .10; A has no step before it
    }
    assert SEQUENCE.summary() == pytest.approx(expected)
    assert (SEQUENCE.seen_sites, SEQUENCE.unseen_sites, SEQUENCE.past_sites) == (("A", "B", "C"), ("U",), ("A", "B"))


def test_the_final_row_is_not_among_the_best_that_forgetting_starts_from() -> None:
    # A rises from .5 to .9 at the end: forgetting is .5 - .9, below zero, where the final row in the max gives 0.
    rising = ScoreMatrix(np.array([[0, 0], [0.5, 0], [0.9, 0.8]]), ("A", "B"), {"A": (1,), "B": (2,)})
    assert rising.forgetting == pytest.approx(-0.4)
    assert rising.backward_transfer == pytest.approx(0.4)


def test_a_score_before_a_site_arrives_is_not_among_its_best() -> None:
    # B scores .9 before it arrives at step 2 and .6 when learnt: only .6 can be forgotten.
    matrix = ScoreMatrix(np.array([[0, 0], [0, 0.9], [0, 0.6], [0, 0.5]]), ("A", "B"), {"A": (3,), "B": (2,)})
    assert matrix.forgetting == pytest.approx(0.1)


def test_distances_flip_the_sign_of_differences_only() -> None:
    values = np.array([[50.0, 60.0, 70.0], [5.0, 20.0, 30.0], [9.0, 4.0, 12.0]])
    matrix = ScoreMatrix(values, ("A", "B", "U"), {"A": (1,), "B": (2,), "U": ()}, higher_is_better=False)
    expected = {
        "accuracy": 6.5,  # (9 + 4) / 2
        "unseen": 12.0,
        "plasticity": 4.5,  # (5 + 4) / 2
        "backward_transfer": -4.0,  # A went from 5 mm to 9 mm: worse, so below zero
        "forgetting": 4.0,  # 9 - min(5)
        "forward_transfer": 40.0,  # B: 60 mm untrained, 20 mm before it came: better, so above zero
    }
    assert matrix.summary() == pytest.approx(expected)


def test_the_best_of_a_distance_is_its_least() -> None:
    values = np.array([[9.0, 9.0], [6.0, 9.0], [3.0, 9.0], [5.0, 2.0]])
    matrix = ScoreMatrix(values, ("A", "B"), {"A": (1,), "B": (3,)}, higher_is_better=False)
    assert matrix.forgetting == pytest.approx(2.0)  # 5 - min(6, 3)
    assert matrix.backward_transfer == pytest.approx(1.0)  # 6 mm when learnt, 5 mm at the end


def test_a_single_step_has_nothing_to_forget() -> None:
    matrix = ScoreMatrix(np.array([[0.1], [0.8]]), ("A",), {"A": (1,)})
    summary = matrix.summary()
    assert (summary.pop("accuracy"), summary.pop("plasticity")) == (0.8, 0.8)
    assert all(math.isnan(value) for value in summary.values())


def test_without_an_unseen_site_only_that_score_is_missing() -> None:
    matrix = ScoreMatrix(np.array([[0.1, 0.1], [0.8, 0.3], [0.7, 0.9]]), ("A", "B"), {"A": (1,), "B": (2,)})
    assert [key for key, value in matrix.summary().items() if math.isnan(value)] == ["unseen"]


def test_several_sites_may_arrive_in_one_step() -> None:
    values = np.array([[0.1, 0.1, 0.2], [0.8, 0.6, 0.4], [0.7, 0.7, 0.9]])
    matrix = ScoreMatrix(values, ("A", "B", "C"), {"A": (1,), "B": (1,), "C": (2,)})
    assert matrix.backward_transfer == pytest.approx(0.0)  # A: -.1, B: +.1
    assert matrix.forgetting == pytest.approx(0.0)  # A: .8 - .7, B: .6 - .7
    assert matrix.forward_transfer == pytest.approx(0.2)  # C alone: .4 - .2
    assert matrix.plasticity == pytest.approx((0.8 + 0.6 + 0.9) / 3)


def test_a_site_that_arrives_again_is_learnt_anew_but_first_met_once() -> None:
    values = np.array([[0.1, 0.2], [0.9, 0.4], [0.5, 0.8], [0.7, 0.6], [0.6, 0.5]])
    matrix = ScoreMatrix(values, ("A", "B"), {"A": (1, 3), "B": (2,)})
    assert matrix.plasticity == pytest.approx((0.7 + 0.8) / 2)  # A at step 3, B at step 2
    assert matrix.backward_transfer == pytest.approx((-0.1 - 0.3) / 2)  # A: .6 - .7, B: .5 - .8
    assert matrix.forgetting == pytest.approx((0.3 + 0.3) / 2)  # A: max(.9, .5, .7) - .6, B: max(.8, .6) - .5
    assert matrix.forward_transfer == pytest.approx(0.2)  # B: .4 - .2


def test_a_site_that_last_arrives_at_the_end_cannot_be_forgotten_yet() -> None:
    matrix = ScoreMatrix(np.array([[0.1], [0.9], [0.5]]), ("A",), {"A": (1, 2)})
    assert math.isnan(matrix.forgetting)
    assert math.isnan(matrix.backward_transfer)


def test_intransigence_is_what_a_joint_run_ends_above_the_score_when_learnt() -> None:
    joint = ScoreMatrix(np.array([[0, 0, 0], [0.9, 0.92, 0.94]]), ("C", "A", "B"), {"A": (1,), "B": (1,), "C": (1,)})
    # By name, not by place: A .92 - .80, B .94 - .90, C .90 - .95.
    assert SEQUENCE.intransigence(joint) == pytest.approx((0.12 + 0.04 - 0.05) / 3)


def test_intransigence_of_a_distance_is_above_zero_where_the_joint_run_is_nearer() -> None:
    run = ScoreMatrix(np.array([[9.0], [5.0]]), ("A",), {"A": (1,)}, higher_is_better=False)
    joint = ScoreMatrix(np.array([[9.0], [3.0]]), ("A",), {"A": (1,)}, higher_is_better=False)
    assert run.intransigence(joint) == 2.0
    with pytest.raises(ValueError, match="another kind of metric"):
        run.intransigence(ScoreMatrix(np.array([[0.1], [0.3]]), ("A",), {"A": (1,)}))
    with pytest.raises(ValueError, match="no score of B, C"):
        SEQUENCE.intransigence(run)


def test_a_missing_score_makes_every_score_that_needs_it_missing() -> None:
    values = SEQUENCE.values.copy()
    values[3, 0] = np.nan
    holed = ScoreMatrix(values, SEQUENCE.sites, SEQUENCE.arrivals)
    gone = [key for key, value in holed.summary().items() if math.isnan(value)]
    assert gone == ["accuracy", "backward_transfer", "forgetting"]


@st.composite
def perfect_memories(draw: st.DrawFn) -> ScoreMatrix:
    """Matrices whose columns don't move once their site has arrived."""
    steps, count = draw(st.integers(2, 6)), draw(st.integers(1, 5))
    score = st.floats(0, 1)
    values = np.array(draw(st.lists(score, min_size=(steps + 1) * count, max_size=(steps + 1) * count)))
    values = values.reshape(steps + 1, count)
    arrivals = {}
    for column in range(count):
        arrived = sorted(draw(st.sets(st.integers(1, steps), min_size=1)))
        values[arrived[0] :, column] = values[arrived[0], column]
        arrivals[f"site-{column}"] = tuple(arrived)
    return ScoreMatrix(values, tuple(arrivals), arrivals, higher_is_better=draw(st.booleans()))


@given(perfect_memories())
def test_perfect_memory_has_no_backward_transfer_and_forgets_nothing(matrix: ScoreMatrix) -> None:
    none = not matrix.past_sites
    assert math.isnan(matrix.backward_transfer) if none else matrix.backward_transfer == 0
    assert math.isnan(matrix.forgetting) if none else matrix.forgetting == 0
    assert matrix.accuracy == matrix.plasticity


def rows(*cells: tuple[int, str, str, str, float]) -> pd.DataFrame:
    frame = pd.DataFrame(cells, columns=["step", "site", "case", "structure", "dice"])
    return frame.assign(hd95=10 * (1 - frame["dice"]), asd=1 - frame["dice"])


def test_rows_are_averaged_over_structures_first_then_over_cases() -> None:
    # Case p: (.2 + .4) / 2 = .3. Case q has one structure only: .9. Site: (.3 + .9) / 2 = .6, not the mean of three.
    scores = rows((1, "A", "p", "cup", 0.2), (1, "A", "p", "disc", 0.4), (1, "A", "q", "disc", 0.9))
    matrix = ScoreMatrix.from_rows(scores, "dice", {"A": (1,)})
    assert matrix.score(1, "A") == pytest.approx(0.6)
    assert math.isnan(matrix.score(0, "A"))
    assert ScoreMatrix.from_rows(scores, "hd95", {"A": (1,)}).higher_is_better is False


def test_a_structure_that_cannot_be_scored_leaves_the_mean_of_its_case() -> None:
    scores = rows((1, "A", "p", "cup", math.nan), (1, "A", "p", "disc", 0.4), (1, "A", "q", "disc", 0.8))
    assert ScoreMatrix.from_rows(scores, "dice", {"A": (1,)}).score(1, "A") == pytest.approx(0.6)


def test_columns_take_the_order_of_arrivals_and_gaps_are_nan() -> None:
    scores = rows((0, "A", "p", "cup", 0.1), (2, "B", "p", "cup", 0.3))
    matrix = ScoreMatrix.from_rows(scores, "dice", {"B": (1,), "A": (2,), "U": ()})
    assert matrix.sites == ("B", "A", "U")
    np.testing.assert_array_equal(matrix.values, [[np.nan, 0.1, np.nan], [np.nan] * 3, [0.3, np.nan, np.nan]])


def test_a_run_that_stopped_early_has_not_seen_the_sites_still_to_come() -> None:
    scores = rows((0, "A", "p", "cup", 0.1), (1, "A", "p", "cup", 0.8), (1, "B", "p", "cup", 0.4))
    matrix = ScoreMatrix.from_rows(scores, "dice", {"A": (1, 3), "B": (2,)})
    assert matrix.arrivals == {"A": (1,), "B": ()}
    assert (matrix.accuracy, matrix.unseen) == (0.8, 0.4)


def test_no_rows_at_all_is_a_matrix_of_no_step() -> None:
    matrix = ScoreMatrix.from_rows(rows(), "dice", {"A": (1,)})
    assert matrix.steps == 0
    assert all(math.isnan(value) for value in matrix.summary().values())


@pytest.mark.parametrize(
    ("scores", "metric", "message"),
    [
        (rows((1, "A", "p", "cup", 0.1)), "iou", "'iou' is none of dice, hd95, asd"),
        (rows((1, "Z", "p", "cup", 0.1)), "dice", "does not name: Z"),
        (rows((1, "A", "p", "cup", 0.1), (1, "A", "p", "cup", 0.2)), "dice", "twice"),
    ],
)
def test_rows_that_do_not_hold_are_named(scores: pd.DataFrame, metric: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScoreMatrix.from_rows(scores, metric, {"A": (1,)})


@pytest.mark.parametrize(
    ("values", "sites", "arrivals", "message"),
    [
        (np.zeros((2, 2)), ("A",), {"A": (1,)}, "must be"),
        (np.zeros((2, 1)), ("A",), {"B": (1,)}, "name each site"),
        (np.zeros((2, 2)), ("A", "A"), {"A": (1,)}, "name each site"),
        (np.zeros((2, 1)), ("A",), {"A": (2,)}, r"within 1\.\.1"),
        (np.zeros((3, 1)), ("A",), {"A": (2, 1)}, "ascend"),
    ],
)
def test_a_matrix_that_does_not_hold_is_refused(
    values: np.ndarray, sites: tuple[str, ...], arrivals: dict[str, tuple[int, ...]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ScoreMatrix(values, sites, arrivals)


def test_a_matrix_keeps_its_own_values() -> None:
    values = np.array([[0.1], [0.8]])
    matrix = ScoreMatrix(values, ("A",), {"A": (1,)})
    values[1, 0] = 0.0
    assert matrix.accuracy == 0.8
    with pytest.raises(ValueError, match="read-only"):
        matrix.values[1, 0] = 0.0
