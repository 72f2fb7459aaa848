"""The table at the end of a bench: whole at 80 columns, in numbers that a person reads."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console

from simulator.bench.results import Results
from simulator.bench.showing import result_table


def lines(results: Results) -> list[str]:
    """What a person sees on a terminal of 80 columns, with one space between words."""
    console = Console(width=80)
    with console.capture() as shown:
        console.print(result_table(results))
    return [" ".join(line.split()) for line in shown.get().splitlines()]


def test_the_table_at_the_end_is_whole_on_a_narrow_terminal(make_results: Callable[..., Results]) -> None:
    shown = lines(make_results(strategies=("finetune", "ewc with a label that is long enough"), noise=0))
    assert "…" not in "".join(shown)
    assert "finetune 10/10 .843 .845 +.110 42.0 MB 95.0 s" in shown
    assert shown.count("prostate-phantom") == shown.count("fundus-phantom") == 1


def test_a_single_schedule_needs_no_heading_and_a_strategy_that_failed_has_dashes(
    make_results: Callable[..., Results],
) -> None:
    failed = [("prostate", "joint", "A-B-C-D", 0)]
    results = make_results(
        strategies=("finetune", "joint"), schedules=("prostate",), orders=("A-B-C-D",), seeds=1, failed=failed
    )
    shown = lines(results)
    assert "prostate" not in shown
    assert any(line.startswith("joint 0/1 \N{EN DASH} \N{EN DASH}") for line in shown)
