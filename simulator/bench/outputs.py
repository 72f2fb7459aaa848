"""Writes what people read of a bench: tables, figures and the report."""

from __future__ import annotations

import re
from pathlib import Path

from simulator.bench.figures import plates, write_figures
from simulator.bench.page import write_page
from simulator.bench.results import Results
from simulator.bench.statistics import compare
from simulator.bench.tables import comparison_table, main_table, shown
from simulator.bench.typeset import latex, markdown
from sites.files import write_whole


def write_outputs(results: Results, folder: Path) -> tuple[Path, ...]:
    """Write tables/, figures/ and report.html into the folder of a bench; return the paths, the report last.

    The report shows the suite.yaml that lies in the folder, if any.
    """
    written: list[Path] = []
    for schedule, stem in zip(results.schedules, stems(results.schedules), strict=True):
        families = {score.key: compare(results, schedule, score) for score in shown(results, schedule)}
        tables = {stem: main_table(results, schedule, families)}
        tables |= {f"{stem}-{key.replace('_', '-')}": comparison_table(family) for key, family in families.items()}
        for name, table in tables.items():
            for path, text in (
                (folder / "tables" / f"{name}.md", markdown(table)),
                (folder / "tables" / f"{name}.tex", latex(table, name)),
            ):
                write_whole(path, text)
                written.append(path)
        written += write_figures(plates(results, schedule), stem, folder / "figures")
    suite = folder / "suite.yaml"
    write_page(results, folder / "report.html", suite.read_text(encoding="utf-8") if suite.exists() else "")
    return (*written, folder / "report.html")


def stems(schedules: tuple[str, ...]) -> tuple[str, ...]:
    """Return a file name for each schedule, of plain letters, each a different one."""
    found: list[str] = []
    for schedule in schedules:
        stem = re.sub(r"[^a-z0-9]+", "-", schedule.lower()).strip("-") or "schedule"
        found.append(stem if stem not in found else f"{stem}-{len(found) + 1}")
    return tuple(found)
