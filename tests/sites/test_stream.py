"""A stream hands out what a site holds now; what it held before is gone, also after a restart."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sites.errors import DataGone, SourceError
from sites.stream import Case, Shape, SiteStream, Turn, Visit


class Records:
    """A source of eight cases for site A."""

    shape = Shape(channels=1, height=2, width=2, slices=1, structures=("gland",))
    sites = ("A",)

    def train(self, site: str, first: int, count: int) -> tuple[Case, ...]:
        if site not in self.sites or first + count > 8:
            raise SourceError(f"{site} has no cases {first} to {first + count - 1}")
        return tuple(
            Case(
                patient=f"{site}{number}",
                images=torch.zeros(1, 1, 2, 2),
                masks=torch.zeros(1, 1, 2, 2, dtype=torch.uint8),
                spacing=(1.0, 1.0, 1.0),
            )
            for number in range(first, first + count)
        )

    def held_out(self, site: str, count: int) -> tuple[Case, ...]:
        return ()


# Three cases from step 2 to step 3, then two others at step 5.
VISITS = (Visit(step=2, last_step=3, first=0, count=3), Visit(step=5, last_step=5, first=3, count=2))


def stream(folder: Path, visits: tuple[Visit, ...] = VISITS) -> SiteStream:
    return SiteStream(Records(), "A", visits, folder / "newest-step")


def patients(site: SiteStream, step: int) -> list[str]:
    return [case.patient for case in site.open(step)]


def test_a_site_holds_its_cases_for_as_long_as_it_stays(tmp_path: Path) -> None:
    site = stream(tmp_path)
    assert patients(site, 2) == ["A0", "A1", "A2"]
    assert patients(site, 2) == ["A0", "A1", "A2"]
    assert patients(site, 3) == ["A0", "A1", "A2"]


def test_a_second_visit_brings_other_patients(tmp_path: Path) -> None:
    site = stream(tmp_path)
    first, second = patients(site, 2), patients(site, 5)
    assert second == ["A3", "A4"]
    assert set(first).isdisjoint(second)


def test_a_second_visit_takes_the_place_of_a_first_that_would_stay(tmp_path: Path) -> None:
    staying = (Visit(step=1, last_step=9, first=0, count=3), Visit(step=4, last_step=9, first=3, count=1))
    site = stream(tmp_path, staying)
    assert patients(site, 3) == ["A0", "A1", "A2"]
    assert patients(site, 4) == ["A3"]
    with pytest.raises(DataGone):
        site.open(3)


@pytest.mark.parametrize("step", [-1, 0, 1])
def test_nothing_is_there_before_the_site_arrives(step: int, tmp_path: Path) -> None:
    with pytest.raises(DataGone, match="holds no such data"):
        stream(tmp_path).open(step)


@pytest.mark.parametrize("step", [4, 6, 99])
def test_nothing_is_there_after_the_stay_has_ended(step: int, tmp_path: Path) -> None:
    with pytest.raises(DataGone):
        stream(tmp_path).open(step)


def test_a_step_once_left_is_gone(tmp_path: Path) -> None:
    site = stream(tmp_path)
    site.open(3)
    with pytest.raises(DataGone, match="newest step is 3"):
        site.open(2)


def test_a_step_once_left_is_gone_after_a_restart(tmp_path: Path) -> None:
    stream(tmp_path).open(5)
    for step in (2, 3):
        with pytest.raises(DataGone):
            stream(tmp_path).open(step)
    assert patients(stream(tmp_path), 5) == ["A3", "A4"]


def test_asking_in_vain_moves_nothing_on(tmp_path: Path) -> None:
    with pytest.raises(DataGone):
        stream(tmp_path).open(99)
    assert patients(stream(tmp_path), 2) == ["A0", "A1", "A2"]


def test_a_site_that_never_arrives_holds_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataGone):
        stream(tmp_path, ()).open(1)


def test_a_source_with_too_few_cases_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        stream(tmp_path, (Visit(step=1, last_step=1, first=7, count=2),)).open(1)


def test_a_turn_is_written_down_without_its_serial() -> None:
    assert Turn(step=4, round=2, serial=17).as_row() == {"step": 4, "round": 2}
