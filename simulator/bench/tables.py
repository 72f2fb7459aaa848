"""Sets the results of a bench as tables, for Markdown, for LaTeX and for the report."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from simulator.bench import words
from simulator.bench.results import Results
from simulator.bench.scores import SCORES, TESTED, Score
from simulator.bench.statistics import Estimate, Family, Verdict, estimate, trial_table
from simulator.report.words import NONE, listed

MARK = "†"


@dataclass(frozen=True)
class Cell:
    """A cell: its text, its margin (half the confidence interval, "" for none), and the number it sorts by.

    best: the best of its column; close: not told apart from the best, or from the control where there is one
    """

    text: str
    margin: str = ""
    value: float = math.nan
    best: bool = False
    close: bool = False


@dataclass(frozen=True)
class Column:
    """A column: its title, its unit, and whether high or low numbers are good ("" for neither)."""

    title: str
    unit: str = ""
    good: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of one schedule; each row a heading and a cell for each column but the first."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


def main_table(results: Results, schedule: str, families: dict[str, Family]) -> Table:
    """Return strategies x scores, with what left the sites and the CPU time; `families` by score's key.

    The best of a column is found among all but the reference, which is there to bound the others.
    """
    columns = [Column("Strategy")]
    by_column: list[dict[str, Cell]] = []
    for score in shown(results, schedule):
        columns.append(_column(score))
        by_column.append(_score_cells(results, schedule, score, families[score.key]))
    columns += [Column("Released", "a trial", "low"), Column("Kinds released"), Column("CPU", "a trial", "low")]
    by_column += _cost_cells(results, schedule)
    rows = tuple((name, tuple(cells[name] for cells in by_column)) for name in results.strategies)
    return Table(caption=_caption(results, schedule), columns=tuple(columns), rows=rows)


def shown(results: Results, schedule: str) -> tuple[Score, ...]:
    """Return the tested scores that some trial of a schedule has, or the first where there is none."""
    found = tuple(score for score in TESTED if trial_table(results, schedule, score.key).notna().to_numpy().any())
    return found or TESTED[:1]


def best_of(results: Results, estimates: dict[str, Estimate], sign: int) -> str | None:
    """Return the strategy with the best mean, the reference aside unless it stands alone; None without any mean."""
    means = {name: sign * found.mean for name, found in estimates.items() if math.isfinite(found.mean)}
    rivals = {name: mean for name, mean in means.items() if name != results.reference} or means
    return max(rivals, key=lambda name: rivals[name], default=None)


def winner(results: Results, estimates: dict[str, Estimate], sign: int) -> str | None:
    """Return what `best_of` does, where it has a rival to be better than."""
    rivals = [name for name, found in estimates.items() if math.isfinite(found.mean) and name != results.reference]
    return best_of(results, estimates, sign) if len(rivals) > 1 else None


def estimates_of(results: Results, schedule: str, score: Score) -> dict[str, Estimate]:
    """Return the estimate of a score by strategy."""
    table = trial_table(results, schedule, score.key)
    return {name: estimate(table[name].to_numpy()) for name in results.strategies}


def cost_of(results: Results, schedule: str, strategy: str, column: str) -> Estimate:
    """Return the estimate of a cost over the trials done: bytes_up, bytes_first, cpu_seconds or wall_seconds."""
    rows = results.trials.merge(results.costs, on="trial", how="left")
    mine = (rows["schedule"] == schedule) & (rows["strategy"] == strategy) & (rows["status"] == "done")
    return estimate(rows.loc[mine, column].to_numpy(dtype=float))


def kinds_of(results: Results, schedule: str, strategy: str) -> str:
    """Return every kind that a strategy's trials released, joined by "+", the most sensitive first."""
    rows = results.trials
    mine = (rows["schedule"] == schedule) & (rows["strategy"] == strategy) & (rows["status"] == "done")
    found = {kind for kinds in rows.loc[mine, "kinds_up"] for kind in str(kinds).split("+") if kind}
    order = {kind: place for place, kind in enumerate(words.SENSITIVITY)}
    return "+".join(sorted(found, key=lambda kind: (order.get(kind, -1), kind)))


def comparison_table(family: Family) -> Table:
    """Return a row for each pair of a family."""
    score = family.score
    rows = []
    for found in family.comparisons:
        gap = found.difference
        interval = f"{score.number(gap.low, signed=True)} to {score.number(gap.high, signed=True)}"
        rows.append(
            (
                f"{found.first} vs {found.second}",
                (
                    Cell(score.number(gap.mean, signed=True), value=gap.mean),
                    Cell(NONE if math.isnan(gap.low) else interval),
                    Cell(_signed(found.d_z), value=found.d_z),
                    Cell(_signed(found.rank_biserial), value=found.rank_biserial),
                    Cell(str(found.pairs), value=found.pairs),
                    Cell(words.p_value(found.p).removeprefix("= "), value=found.p),
                    Cell(words.p_value(found.p_holm).removeprefix("= "), value=found.p_holm),
                    Cell(found.verdict, best=found.verdict in (Verdict.BETTER, Verdict.WORSE)),
                ),
            )
        )
    titles = ("Pair", "Difference", "95 % CI", "d_z", "Rank-biserial", "Pairs", "p", "p (Holm)", "First is")
    which = f"each strategy against {family.control}" if family.control else "every pair"
    caption = f"{family.schedule}: {score.noun}, {which}; differences are first minus second. {words.reach(family)}"
    return Table(caption=caption.rstrip(), columns=tuple(map(Column, titles)), rows=tuple(rows))


def _signed(value: float) -> str:
    return NONE if math.isnan(value) else f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def _score_cells(results: Results, schedule: str, score: Score, family: Family) -> dict[str, Cell]:
    estimates = estimates_of(results, schedule, score)
    best = winner(results, estimates, score.sign)
    other = results.control or best
    cells = {}
    for name, found in estimates.items():
        against = family.between(name, other) if other and name not in (other, results.reference) else None
        close = against is not None and against.verdict not in (Verdict.BETTER, Verdict.WORSE)
        cells[name] = replace(_mean_cell(score, found), best=name == best, close=close)
    return cells


def _cost_cells(results: Results, schedule: str) -> list[dict[str, Cell]]:
    released = {name: cost_of(results, schedule, name, "bytes_up") for name in results.strategies}
    cpu = {name: cost_of(results, schedule, name, "cpu_seconds") for name in results.strategies}
    least, fastest = winner(results, released, -1), winner(results, cpu, -1)
    kinds = {name: kinds_of(results, schedule, name) for name in results.strategies}
    return [
        {name: Cell(words.amount(one.mean), value=one.mean, best=name == least) for name, one in released.items()},
        {name: Cell(found.replace("+", ", ") or NONE) for name, found in kinds.items()},
        {name: Cell(words.seconds(one.mean), value=one.mean, best=name == fastest) for name, one in cpu.items()},
    ]


def _caption(results: Results, schedule: str) -> str:
    text = f"{schedule}: mean ± half of the 95 % confidence interval over trials.{_sited(results)}"
    if len(results.strategies) == 1:
        return text
    text += f" Bold: the best mean. {marked(results)}."
    return f"{text} {results.reference} is the reference and out of the running." if results.reference else text


def marked(results: Results) -> str:
    """Say what the mark means."""
    other, pairs = (results.control, "these pairs") if results.control else ("it", "all pairs")
    return f"{MARK}: not told apart from {other} (paired sign-flip test, Holm-corrected over {pairs})"


def _sited(results: Results) -> str:
    """Say which strategies have to be told more than the others: what site an image is from."""
    named = [name for name in results.strategies if name in results.sited]
    if not named:
        return ""
    must = "must" if len(named) > 1 else "has to"
    return (
        f" {listed(named)} {must} be told an image's site: each segments a site with statistics or weights of its own."
    )


def other_scores(results: Results, schedule: str) -> Table:
    """Return the means of every score that the main table leaves out and some trial has."""
    chosen = {score: estimates_of(results, schedule, score) for score in SCORES.values() if score not in TESTED}
    chosen = {score: found for score, found in chosen.items() if any(one.trials for one in found.values())}
    columns = [Column("Strategy"), *(_column(score) for score in chosen)]
    rows = tuple(
        (name, tuple(_mean_cell(score, found[name]) for score, found in chosen.items())) for name in results.strategies
    )
    caption = f"{schedule}: every other score, mean ± half of the 95 % confidence interval over trials; not tested."
    return Table(caption=caption, columns=tuple(columns), rows=rows)


def trial_list(results: Results) -> Table:
    """Return every trial with its state and its Dice."""
    rows = []
    for _, trial in results.trials.iterrows():
        state = f"{trial['status']} ({trial['reason']})" if trial["reason"] else str(trial["status"])
        said = map(str, (trial["schedule"], trial["order"], trial["seed"], state))
        ran = map(str, (trial["trial"][:12], trial["commit"]))
        scores = [Cell(score.number(float(trial[score.key])), value=float(trial[score.key])) for score in TESTED[:2]]
        rows.append((str(trial["strategy"]), (*map(Cell, said), *scores, *map(Cell, ran))))
    titles = ("Strategy", "Schedule", "Order", "Seed", "State")
    columns = (*map(Column, titles), *(_column(score) for score in TESTED[:2]), Column("Identity"), Column("Commit"))
    return Table(caption="Every trial, in the suite's order.", columns=columns, rows=tuple(rows))


def _column(score: Score) -> Column:
    return Column(score.title, score.metric.unit, "high" if score.higher_is_better else "low")


def _mean_cell(score: Score, found: Estimate) -> Cell:
    margin = "" if math.isnan(found.margin) else score.number(found.margin, signed=False)
    return Cell(score.number(found.mean), margin, found.mean)
