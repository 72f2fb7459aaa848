"""Cases come in order, patients stay on one side, and errors say what to do."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sites.errors import SourceError
from sites.sources.folder import SOURCE, Folder, FolderConfig, open_folder
from tests.sites.sources.folder.writing import picture


def many(root: Path, cases: dict[str, list[str]]) -> Path:
    square = np.eye(16, dtype=np.uint8)
    for site, names in cases.items():
        for name in names:
            picture(root / site, name, square * 9, square)
    return root


def names(source: Folder, site: str, count: int) -> list[str]:
    return [case.patient for case in source.train(site, 0, count)]


def test_cases_come_in_order_of_acquisition_then_name_and_visits_stay_together(tmp_path: Path) -> None:
    many(tmp_path, {"north": ["a", "b", "c", "d", "e", "f", "left"]})
    (tmp_path / "cases.csv").write_text(
        "\ufeffsite,case,patient,acquired,split\nnorth,a,p1,2024-03-01,train\nnorth,b,p2,2023-01-01T08:00,train\n"
        "north,c,p1,2022-06-01,train\nnorth,d,p3,,train\nnorth,e,p0,2023-01-01T09:00+01:00,train\nnorth,f,p9,,test\n",
        encoding="utf-8",
    )
    source = open_folder("any", FolderConfig(root=tmp_path), 0)
    assert source.sites == ("north",)
    assert names(source, "north", 5) == ["p1", "p2", "p0", "p1", "p3"]
    assert [case.patient for case in source.train("north", 1, 2)] == ["p2", "p0"]
    assert [case.patient for case in source.held_out("north", 5)] == ["p9"]


PEOPLE = st.lists(st.tuples(st.sampled_from("ABCDEFGH"), st.integers(0, 3)), min_size=2, max_size=14, unique=True)


@settings(max_examples=15)
@given(PEOPLE, st.floats(0.05, 0.95))
def test_a_patient_is_never_on_both_sides_and_the_split_is_deterministic(
    visits: list[tuple[str, int]], held_out: float
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = many(Path(folder), {"north": [f"{patient}{visit}" for patient, visit in visits]})
        lines = [f"north,{patient}{visit},{patient}" for patient, visit in visits]
        (root / "cases.csv").write_text("\n".join(["site,case,patient", *lines]))
        config = FolderConfig(root=root, held_out=held_out, size=16)
        source = open_folder("any", config, 0)
        aside = {case.patient for case in source.held_out("north", 99)}
        patients = {patient for patient, _ in visits}
        count = len([patient for patient, _ in visits if patient not in aside])
        assert {case.patient for case in source.train("north", 0, count)} == patients - aside
        assert aside
        assert len(patients) == 1 or aside < patients
        assert {case.patient for case in open_folder("other", config, 7).held_out("north", 99)} == aside


@pytest.mark.parametrize(
    ("first", "count", "message"),
    [(0, 4, r"north: asked for training cases 0 to 3, but there are 3"), (3, 1, "3 to 3")],
)
def test_too_few_cases_are_an_error(first: int, count: int, message: str, tmp_path: Path) -> None:
    many(tmp_path, {"north": ["a", "b", "c", "d"]})
    source = open_folder("any", FolderConfig(root=tmp_path), 0)
    with pytest.raises(SourceError, match=message):
        source.train("north", first, count)
    with pytest.raises(SourceError, match="no site 'south'; it holds north"):
        source.held_out("south", 1)


def test_opening_says_what_makes_it_impossible(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere: missing-root: is not a folder; set root"):
        open_folder("any", FolderConfig(root=tmp_path / "nowhere"), 0)
    many(tmp_path, {"north": ["a", "b"]})
    (tmp_path / "north/masks/a.png").unlink()
    (tmp_path / "north/images/b.png").unlink()
    with pytest.raises(SourceError, match=r"a\.png: missing-partner.*\(and 1 more\); `wardround sites check"):
        open_folder("any", FolderConfig(root=tmp_path), 0)


def test_a_broken_file_is_named_when_its_case_is_read(tmp_path: Path) -> None:
    many(tmp_path, {"north": ["a", "b"]})
    for case in "ab":
        (tmp_path / f"north/images/{case}.png").write_bytes(b"not a picture")
    source = open_folder("any", FolderConfig(root=tmp_path), 0)
    with pytest.raises(SourceError, match=r"north/images/.\.png: unreadable"):
        source.train("north", 0, 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("structures", {}),
        ("structures", {"a": []}),
        ("structures", {"a": [0, 1]}),
        ("percentiles", (99, 1)),
        ("axis", 3),
        ("colour", 1),
    ],
)
def test_settings_that_make_no_sense_are_refused(field: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        SOURCE.config.model_validate({"root": tmp_path, field: value})
