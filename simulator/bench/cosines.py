"""Draws how well the gradients that a strategy aligns agree with each other, iteration by iteration."""

from __future__ import annotations

from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from simulator.bench.looks import WIDE, Plate, done, legend, legend_height, looks, plain
from simulator.bench.results import Results
from simulator.report.ink import ink
from simulator.report.labels import Plain
from simulator.report.words import listed


def cosines(results: Results, schedule: str) -> Plate | None:
    """The alignment of gradients over iterations; None where no strategy logged a cosine."""
    trials = done(results, schedule)[["trial", "strategy"]]
    logged = results.diagnostics[results.diagnostics["name"].astype(str).str.startswith("cosine")]
    rows = logged.merge(trials, on="trial", how="inner")
    if rows["value"].isna().all():
        return None
    lengths = rows.groupby("step")["index"].max() + 1
    starts = lengths.cumsum() - lengths
    rows = rows.assign(at=rows["index"] + rows["step"].map(starts))
    means = rows.groupby(["name", "strategy"], as_index=False)["value"].mean()
    texts = [f"{_cosine(str(mean.name))} of {mean.strategy} {mean.value:.2f}" for mean in means.itertuples(index=False)]
    return Plate(
        name="cosines",
        title="How well gradients agree",
        caption="Cosine between the gradients that are aligned: 1 the same direction, 0 unrelated, below 0 at odds. "
        "Mean over sites and trials, smoothed over a twentieth of the course. Dotted: a new step begins.",
        finding=f"Mean cosine of gradients over all iterations: {listed(texts)}.".replace("-", "\N{MINUS SIGN}"),
        draw=partial(_cosines, results, rows, [int(start) for start in starts if start]),
    )


def _cosines(results: Results, rows: pd.DataFrame, starts: list[int]) -> Figure:
    names = sorted(rows["name"].unique())
    chosen = {name: look for name, look in looks(results).items() if name in set(rows["strategy"])}
    head = legend_height(chosen)
    figure = Figure(figsize=(WIDE, head + 2.4 * len(names)), layout="constrained")
    grid = figure.subplots(len(names), 1, sharex=True, squeeze=False)
    legend(figure, {name: {**look, "marker": ""} for name, look in chosen.items()})
    for axes, title in zip(grid.flat, names, strict=True):
        for name, look in chosen.items():
            mine = rows[(rows["name"] == title) & (rows["strategy"] == name)]
            course = mine.groupby(["step", "at"])["value"].mean()
            for _, part in course.groupby("step"):
                smooth = part.droplevel("step").rolling(max(1, len(course) // 20), min_periods=1, center=True).mean()
                axes.plot(smooth.index, smooth, linewidth=1.6, **{**look, "marker": "" if len(smooth) > 1 else "o"})
        for start in starts:
            axes.axvline(start, color=ink("muted"), linewidth=1, linestyle=(0, (1, 2)), zorder=0)
        axes.axhline(0, color=ink("muted"), linewidth=0.8)
        axes.set_title(_cosine(title), loc="left", fontsize=9.5)
        axes.yaxis.set_major_formatter(Plain(useOffset=False))
        plain(axes)
    grid[-1, 0].set_xlabel("iterations that aligned by the term")
    return figure


def _cosine(name: str) -> str:
    return name.removeprefix("cosine").strip("_").replace("_", " ") or "cosine"
