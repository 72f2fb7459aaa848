"""Tables say who is best and who cannot be told from it, in Markdown and in LaTeX."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from simulator.bench import tables
from simulator.bench.results import Results
from simulator.bench.scores import SEEN, UNSEEN
from simulator.bench.statistics import Family, Verdict, compare
from simulator.bench.tables import Cell, Column, Table, main_table
from simulator.bench.typeset import latex, markdown

WHERE = "fundus-phantom"


@pytest.fixture(scope="module")
def families(results: Results) -> dict[str, Family]:
    return {score.key: compare(results, WHERE, score) for score in tables.shown(results, WHERE)}


@pytest.fixture(scope="module")
def table(results: Results, families: dict[str, Family]) -> Table:
    return main_table(results, WHERE, families)


def test_it_holds_scores_costs_and_kinds(table: Table) -> None:
    titles = [column.title for column in table.columns]
    assert titles[:5] == ["Strategy", "Dice Seen", "Dice Unseen", "Dice Forgetting", "Dice BWT"]
    assert titles[5:] == ["HD95 Seen", "HD95 Unseen", "Released", "Kinds released", "CPU"]
    cells = dict(table.rows)["smdr"]
    assert [cell.text for cell in cells[6:8]] == ["10.8 MB", "diffusion, prompt"]
    assert re.fullmatch(r"\.8\d\d", cells[0].text)
    assert re.fullmatch(r"\.0\d\d", cells[0].margin)


def test_the_best_is_marked_once_a_column_and_never_the_reference(table: Table) -> None:
    for place, column in enumerate(table.columns[1:]):
        best = [name for name, cells in table.rows if cells[place].best]
        assert len(best) == (column.title != "Kinds released")
        assert "joint" not in best
    values = {name: cells[0].value for name, cells in table.rows if name != "joint"}
    assert dict(table.rows)[max(values, key=lambda name: values[name])][0].best


def test_it_says_who_has_to_be_told_the_site_of_an_image(results: Results, families: dict[str, Family]) -> None:
    one, two = results.strategies[:2]
    said = {
        sited: main_table(
            replace(results, trials=results.trials.assign(sited=results.trials["strategy"].isin(sited))),
            WHERE,
            families,
        ).caption
        for sited in ((), (one,), (two, one))
    }
    assert "told an image's site" not in said[()]
    assert f" {one} has to be told an image's site" in said[one,]
    assert f" {one} and {two} must be told an image's site" in said[two, one]


def test_what_is_not_told_apart_from_the_best_is_marked(table: Table, families: dict[str, Family]) -> None:
    place = [column.title for column in table.columns].index("Dice Forgetting") - 1
    best = next(name for name, cells in table.rows if cells[place].best)
    close = {name for name, cells in table.rows if cells[place].close}
    family = families["dice_forgetting"]
    told = (Verdict.BETTER, Verdict.WORSE)
    rivals = {name for name, _ in table.rows} - {best, "joint"}
    assert close == {name for name in rivals if (found := family.between(name, best)) and found.verdict not in told}
    assert close


def test_with_a_control_the_mark_speaks_of_it(results: Results) -> None:
    made = replace(results, control="ewc")
    families = {score.key: compare(made, WHERE, score) for score in tables.shown(made, WHERE)}
    found, family = main_table(made, WHERE, families), families["dice_forgetting"]
    place = [column.title for column in found.columns].index("Dice Forgetting") - 1
    alike = {one.first for one in family.comparisons if one.verdict not in (Verdict.BETTER, Verdict.WORSE)} - {"joint"}
    assert {name for name, cells in found.rows if cells[place].close} == alike
    assert f"{tables.MARK}: not told apart from ewc" in found.caption
    assert "each strategy against ewc; differences" in tables.comparison_table(family).caption


def test_without_unseen_sites_there_is_no_such_column(make_results: Callable[..., Results]) -> None:
    made = make_results(strategies=["ewc", "smdr"], schedules=["s"], unseen=(), seeds=1)
    assert UNSEEN not in tables.shown(made, "s")
    assert SEEN in tables.shown(made, "s")


def test_one_strategy_is_not_called_the_best(make_results: Callable[..., Results]) -> None:
    made = make_results(strategies=["joint", "smdr"], schedules=["s"], seeds=1)
    found = main_table(made, "s", {score.key: compare(made, "s", score) for score in tables.shown(made, "s")})
    assert not [cell for _, cells in found.rows for cell in cells if cell.best]


def test_a_strategy_that_never_ended_has_dashes(results: Results) -> None:
    trials = results.trials.copy()
    trials.loc[trials["strategy"] == "ewc", "status"] = "failed"
    lost = replace(results, trials=trials)
    families = {score.key: compare(lost, WHERE, score) for score in tables.shown(lost, WHERE)}
    cells = dict(main_table(lost, WHERE, families).rows)["ewc"]
    assert {cell.text for cell in cells} == {"\N{EN DASH}"}


def test_every_pair_has_a_row(families: dict[str, Family]) -> None:
    table = tables.comparison_table(families["dice_accuracy"])
    assert [head for head, _ in table.rows][:2] == ["joint vs finetune", "joint vs ewc"]
    assert len(table.rows) == 15
    assert all(len(cells) == len(table.columns) - 1 for _, cells in table.rows)


def test_every_other_score_and_every_trial_are_listed(results: Results) -> None:
    others = tables.other_scores(results, WHERE)
    assert {"Dice Plasticity", "Dice FWT", "ASD Seen"} <= {column.title for column in others.columns}
    trials = tables.trial_list(results)
    assert len(trials.rows) == len(results.trials)
    assert sum("OUT_OF_MEMORY" in cells[3].text for _, cells in trials.rows) == 2


def test_markdown_lines_up(table: Table) -> None:
    lines = markdown(table).splitlines()
    assert {line.count(" | ") for line in lines[:8] if line.startswith("|")} == {len(table.columns) - 1}
    assert "| smdr\\_onsite | **.9" in lines[6]
    assert "not told apart" in lines[-1]


def test_latex_is_a_booktabs_table(table: Table) -> None:
    text = latex(table, "fundus")
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 1
    assert r"smdr\_onsite & \textbf{.90" in text
    assert r"\label{tab:fundus}" in text
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(table.columns) - 1}


def test_names_are_text_in_latex_and_in_markdown() -> None:
    evil = r"50%_$x^2$ & {a}|~\b <i> #1 ± †"
    table = Table(caption=evil, columns=(Column(evil), Column("n")), rows=((evil, (Cell("1", value=1.0),)),))
    assert r"50\%\_\$x\textasciicircum{}2\$ \& \{a\}\textbar{}\textasciitilde{}\textbackslash{}b" in latex(table, "x")
    assert r"\textless{}i\textgreater{} \#1 $\pm$ \textdagger{}" in latex(table, "x")
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in markdown(table).splitlines()[:3])
