"""Writes a table as Markdown, and as LaTeX for the booktabs package."""

from __future__ import annotations

import math

from simulator.bench.tables import MARK, Cell, Column, Table

_MARKDOWN = str.maketrans({sign: f"\\{sign}" for sign in "\\|*_`<[]"} | {"\n": " "})
_LATEX = str.maketrans(
    {
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
        **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}"},
        **{
            "\N{MINUS SIGN}": "$-$",
            "±": r"$\pm$",
            MARK: r"\textdagger{}",
            "∞": r"$\infty$",
            "\N{MULTIPLICATION SIGN}": r"$\times$",
        },
        **{"\N{EN DASH}": "--", "\n": " "},
    }
)


def markdown(table: Table) -> str:
    """Return a table as GitHub's Markdown, numbers to the right."""
    heads = [_head(column).translate(_MARKDOWN) for column in table.columns]
    rule = ["---", *("---:" if _numeric(table, place) else "---" for place in range(len(heads) - 1))]
    rows = [[head.translate(_MARKDOWN), *map(_markdown_cell, cells)] for head, cells in table.rows]
    lines = [f"| {' | '.join(line)} |" for line in (heads, rule, *rows)]
    return "\n".join([*lines, "", table.caption.translate(_MARKDOWN), ""])


def _markdown_cell(cell: Cell) -> str:
    text = _text(cell).translate(_MARKDOWN)
    return f"**{text}**" if cell.best else text


def latex(table: Table, label: str) -> str:
    """Return a table as a LaTeX float; the document needs booktabs and textcomp."""
    places = range(len(table.columns) - 1)
    layout = "l" + "".join("r" if _numeric(table, place) else "l" for place in places)
    lines = [
        r"% needs \usepackage{booktabs,textcomp}",
        *(r"\begin{table}", r"\centering", rf"\caption{{{table.caption.translate(_LATEX)}}}"),
        *(rf"\label{{tab:{label}}}", rf"\begin{{tabular}}{{{layout}}}", r"\toprule"),
        _latex_row([_head(column).translate(_LATEX) for column in table.columns]),
        r"\midrule",
        *(_latex_row([head.translate(_LATEX), *map(_latex_cell, cells)]) for head, cells in table.rows),
        *(r"\bottomrule", r"\end{tabular}", r"\end{table}"),
    ]
    return "\n".join([*lines, ""])


def _latex_row(cells: list[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _latex_cell(cell: Cell) -> str:
    text = _text(cell).translate(_LATEX)
    return rf"\textbf{{{text}}}" if cell.best else text


def _text(cell: Cell) -> str:
    text = f"{cell.text} ± {cell.margin}" if cell.margin else cell.text
    return f"{text} {MARK}" if cell.close else text


def _head(column: Column) -> str:
    arrow = {"high": " (high)", "low": " (low)", "": ""}[column.good]
    return f"{column.title}{f', {column.unit}' if column.unit else ''}{arrow}"


def _numeric(table: Table, place: int) -> bool:
    return any(not math.isnan(cells[place].value) for _, cells in table.rows)
