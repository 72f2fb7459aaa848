"""Writes what people read of a bench: tables, figures and the report."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from simulator.bench.chapters import Chapter, chapters_of
from simulator.bench.page import write_page
from simulator.bench.results import Results
from simulator.bench.typeset import latex, markdown
from simulator.report.ink import drawing, paper_file
from sites.files import write_whole


def write_outputs(results: Results, folder: Path) -> tuple[Path, ...]:
    """Write tables/, figures/ and report.html into the folder of a bench; return the paths, the report last.

    The report shows the suite.yaml that lies in the folder, if any.
    """
    chapters, suite = chapters_of(results), folder / "suite.yaml"
    files: dict[Path, bytes | str] = {}
    for chapter, stem in zip(chapters, stems(results.schedules), strict=True):
        files |= {folder / "tables" / name: text for name, text in _tables(chapter, stem)}
        files |= {folder / "figures" / name: picture for name, picture in _figures(chapter, stem)}
    for path, content in files.items():
        write_whole(path, content)
    write_page(results, chapters, folder / "report.html", suite.read_text(encoding="utf-8") if suite.exists() else "")
    return (*files, folder / "report.html")


def _tables(chapter: Chapter, stem: str) -> Iterator[tuple[str, str]]:
    tables = {stem: chapter.main}
    tables |= {f"{stem}-{pairs.score.key.replace('_', '-')}": pairs.table for pairs in chapter.pairs}
    for name, table in tables.items():
        yield f"{name}.md", markdown(table)
        yield f"{name}.tex", latex(table, name)


def _figures(chapter: Chapter, stem: str) -> Iterator[tuple[str, bytes]]:
    with drawing():
        for picture in chapter.pictures:
            for form in ("png", "svg"):
                yield f"{stem}-{picture.plate.name}.{form}", paper_file(picture.figure, form)


def stems(schedules: tuple[str, ...]) -> tuple[str, ...]:
    """Return a file name for each schedule, of plain letters, each a different one."""
    found: list[str] = []
    for schedule in schedules:
        stem = re.sub(r"[^a-z0-9]+", "-", schedule.lower()).strip("-") or "schedule"
        found.append(stem if stem not in found else f"{stem}-{len(found) + 1}")
    return tuple(found)
