"""The folder of a bench holds tables, figures and the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from simulator.bench.outputs import stems, write_outputs
from simulator.bench.results import Results


def test_everything_is_written_and_named_and_the_report_comes_last(
    make_results: Callable[..., Results], tmp_path: Path
) -> None:
    results = make_results(
        strategies=["ewc", "smdr"], schedules=["Prostate 6"], orders=["A-B"], seeds=2, unseen=["E"], reference=None
    )
    (tmp_path / "suite.yaml").write_text("name: phantoms # as run\n")
    written = write_outputs(results, tmp_path)
    found = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {*written, tmp_path / "suite.yaml"}
    assert written[-1] == tmp_path / "report.html"
    assert {path.relative_to(tmp_path).as_posix() for path in written} >= {
        *("tables/prostate-6.md", "tables/prostate-6.tex", "tables/prostate-6-dice-unseen.md"),
        *("figures/prostate-6-costs.png", "figures/prostate-6-matrices.svg"),
    }
    assert "name: phantoms # as run" in written[-1].read_text()
    before = {path: path.read_bytes() for path in written}
    assert write_outputs(results, tmp_path) == written
    assert {path: path.read_bytes() for path in written} == before


def test_schedules_of_like_names_have_files_of_their_own() -> None:
    assert stems(("A b", "a-B", "北京", "../x")) == ("a-b", "a-b-2", "schedule", "x")
