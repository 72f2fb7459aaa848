"""The figures of a bench show every strategy, whatever the bench lacks, and no name lies on another."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from simulator import report
from simulator.bench import courses
from simulator.bench.figures import plates
from simulator.bench.looks import Plate, looks
from simulator.bench.results import Results
from simulator.bench.statistics import Family, compare
from simulator.bench.tables import shown
from simulator.report.ink import drawing, ink, inline_svg, paper_file

WHERE = "fundus-phantom"
ALL = {"seen-unseen", "ranks-dice-accuracy", "ranks-dice-unseen", "curves", "sites", "matrices", "costs", "cosines"}


def texts(plate: Plate) -> list[str]:
    with drawing():
        return re.findall(r">([^<>\n]+)</text>", inline_svg(plate.draw(), plate.name, plate.finding))


def families_of(results: Results, schedule: str) -> dict[str, Family]:
    return {score.key: compare(results, schedule, score) for score in shown(results, schedule)}


def named(results: Results, schedule: str = WHERE) -> dict[str, Plate]:
    return {plate.name: plate for plate in plates(results, schedule, families_of(results, schedule))}


def boxes(figure: Figure) -> list[tuple[str, Bbox]]:
    """Every text that is drawn, with its place; labels of ticks beyond the axes are none."""
    drawn: list[Text] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", lambda text, renderer: drawn.append(text))
        figure.draw_without_rendering()
    shown = [text for text in drawn if text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), Text.get_window_extent(text)) for text in shown]


def test_every_figure_shows_every_strategy(results: Results) -> None:
    found = named(results)
    assert set(found) == ALL
    for name, plate in found.items():
        written = " ".join(texts(plate))
        expected = [one for one in results.strategies if name != "cosines" or one.startswith("smdr")]
        assert [one for one in expected if one not in written] == [], name
        assert re.search(r"\d|, a panel each", plate.finding), name


@pytest.mark.parametrize("name", ["seen-unseen", "costs", "matrices", "curves", "ranks-dice-accuracy"])
def test_no_text_lies_on_another(results: Results, name: str) -> None:
    with drawing():
        placed = boxes(named(results)[name].draw())
    for (one, here), (other, there) in combinations(placed, 2):
        assert not here.padded(-1).overlaps(there.padded(-1)), f"{one!r} lies on {other!r}"


def test_differences_from_a_control_are_drawn_for_every_other_strategy(results: Results) -> None:
    plate = named(replace(results, control="ewc"))["differences"]
    assert set(results.strategies) - {"ewc"} <= set(texts(plate))
    assert "ewc" not in texts(plate)
    assert "told apart: " in plate.finding
    with drawing():
        placed = boxes(plate.draw())
    for (one, here), (other, there) in combinations(placed, 2):
        assert not here.padded(-1).overlaps(there.padded(-1)), f"{one!r} lies on {other!r}"


def test_crowded_names_keep_apart(make_results: Callable[..., Results]) -> None:
    crowd = make_results(strategies=[f"strategy_{k}" for k in range(25)], schedules=["s"], seeds=2, reference=None)
    with drawing():
        figure = named(crowd, "s")["seen-unseen"].draw()
        placed = [(text, box) for text, box in boxes(figure) if text.startswith("strategy")]
    assert len(placed) == 25
    for (one, here), (other, there) in combinations(placed, 2):
        assert not here.overlaps(there), f"{one} lies on {other}"
    assert len({str(look) for look in looks(crowd).values()}) == 25


def test_two_strategies_in_one_trial_are_drawn(make_results: Callable[..., Results]) -> None:
    least = make_results(strategies=["smdr"], schedules=["s"], orders=["A"], seeds=1, unseen=())
    assert set(named(least, "s")) == {"matrices", "costs", "cosines"}
    for plate in plates(least, "s", {}):
        assert texts(plate)
    pair = make_results(strategies=["smdr", "ewc"], schedules=["s"], orders=["A-B"], seeds=1)
    assert set(named(pair, "s")) == ALL
    for plate in plates(pair, "s", {}):
        assert texts(plate)


def test_holes_leave_the_rest_standing(results: Results) -> None:
    trials = results.trials.copy()
    trials.loc[trials["strategy"] == "ewc", "dice_unseen"] = np.nan
    trials.loc[trials["strategy"] == "smdr", "status"] = "failed"
    trials.loc[trials["strategy"] == "fedavg", "bytes_up"] = 0
    matrix = results.matrix.copy()
    matrix.loc[(matrix["site"] == "B") & (matrix["step"] == 2), "dice"] = np.nan
    found = named(replace(results, trials=trials, matrix=matrix, times=results.times[:0]))
    assert set(found) == ALL
    assert not {"ewc", "smdr"} & set(texts(found["seen-unseen"]))
    assert "smdr" not in texts(found["matrices"])
    assert {"0 B", "fedavg"} <= set(texts(found["costs"]))


def test_where_no_trial_ended_there_is_nothing_to_draw(results: Results) -> None:
    assert plates(replace(results, trials=results.trials.assign(status="failed")), WHERE, {}) == ()


def test_places_are_sites_in_one_order_and_turns_in_several(make_results: Callable[..., Results]) -> None:
    several = courses.placed(make_results(strategies=["ewc"], schedules=["s"], seeds=1), "s")
    assert set(several["place"]) == {"1st", "2nd", "3rd", "4th", "E", "F"}
    first = several[(several["place"] == "1st") & (several["step"] == 1)]
    assert set(first["site"]) == {"A", "C"}
    one = courses.placed(make_results(strategies=["ewc"], schedules=["s"], orders=["C-A"], seeds=1), "s")
    assert list(dict.fromkeys(one["place"])) == ["C", "A", "E", "F"]


def test_the_mean_matrix_is_the_mean_over_trials(results: Results) -> None:
    found = courses.matrices(results, "prostate-phantom")["ewc"]
    rows = results.trials[(results.trials["strategy"] == "ewc") & (results.trials["schedule"] == "prostate-phantom")]
    assert found.accuracy == pytest.approx(rows["dice_accuracy"].mean())
    assert found.arrivals["2nd"] == (2,)
    assert found.unseen_sites == ("E", "F")


def test_figures_take_their_colours_from_the_page(results: Results) -> None:
    css = Path(report.__file__).with_name("page.css").read_text()
    for plate in plates(results, WHERE, {}):
        with drawing():
            drawn = inline_svg(plate.draw(), plate.name, plate.finding)
        assert not re.findall(r"#[0-9a-f]{6}\b", drawn), plate.name
        for variable in set(re.findall(r"var\((--[\w-]+)\)", drawn)):
            assert css.count(f"{variable}: #") == 2, f"{variable} must have a value by day and by night"


def test_files_stand_alone_in_the_colours_of_the_day(results: Results, tmp_path: Path) -> None:
    with drawing():
        figure = plates(results, WHERE, {})[0].draw()
        with Image.open(io.BytesIO(paper_file(figure, "png"))) as picture:
            assert picture.getpixel((2, 2))[:3] == (255, 255, 255)
        svg = paper_file(figure, "svg").decode()
        inline = inline_svg(figure, "name", "finding")
    assert "var(--" not in svg
    assert ink("line-0") in svg
    assert "var(--line-0)" in inline


def test_every_name_has_a_colour_of_its_own_that_looks_as_on_the_page() -> None:
    css = Path(report.__file__).with_name("page.css").read_text()
    names = set(re.findall(r"--([\w-]+): #", css)) - {"page", "link", "alarm", "alarm-card", "caution", "caution-card"}
    assert len({ink(name) for name in names} | {"#000000", "#ffffff"}) == len(names) + 2
    for name in names:
        day = re.search(rf"--{name}: #([0-9a-f]{{6}})", css)
        assert day
        off = [abs(int(ink(name)[at : at + 2], 16) - int(day[1][at - 1 : at + 1], 16)) for at in (1, 3, 5)]
        assert max(off) <= 8, name
