"""A source is found by its kind, and an unknown kind is answered with those that there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from sites.errors import SourceError
from sites.sources import known, load
from sites.stream import SourceKind


@pytest.mark.parametrize("kind", known())
def test_every_module_of_the_package_is_a_kind(kind: str) -> None:
    assert isinstance(load(kind), SourceKind)


def test_a_dotted_name_is_code_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/mine.py").write_text("from sites.sources.folder import SOURCE\n")
    (tmp_path / "outside/empty.py").write_text("")
    (tmp_path / "outside/broken.py").write_text("import a_package_that_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert load("outside.mine") is load("folder")
    with pytest.raises(SourceError, match=r"'outside\.empty' holds no SOURCE"):
        load("outside.empty")
    with pytest.raises(SourceError, match="No module named 'a_package_that_nobody_has'"):
        load("outside.broken")


@pytest.mark.parametrize("kind", ["foldr", "", "..", ".folder", "nowhere.at.all", "folder/x"])
def test_an_unknown_kind_is_an_error(kind: str) -> None:
    with pytest.raises(SourceError, match="kind: "):
        load(kind)


def test_the_error_names_the_nearest_kind_and_all_the_others() -> None:
    with pytest.raises(SourceError, match=r"did you mean 'folder'\?.*brain, .*folder, "):
        load("foldr")
