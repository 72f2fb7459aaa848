"""A file is there whole, old or new, and never in part."""

from __future__ import annotations

from pathlib import Path

import pytest

from sites.files import write_whole


def test_a_file_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    write_whole(path, "a much longer text")
    write_whole(path, "höhe")
    assert path.read_bytes() == "höhe".encode()
    write_whole(path, b"\x00\xff\r\n")
    assert path.read_bytes() == b"\x00\xff\r\n"


def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    write_whole(tmp_path / "sites" / "A" / "policy.yaml", "")
    assert (tmp_path / "sites" / "A" / "policy.yaml").read_bytes() == b""


def test_nothing_else_is_left_in_the_folder(tmp_path: Path) -> None:
    write_whole(tmp_path / "done", "1")
    assert [path.name for path in tmp_path.iterdir()] == ["done"]


def test_a_write_that_is_killed_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint"
    write_whole(path, "old")

    def killed(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:1])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            write_whole(path, "new")
    assert path.read_text() == "old"
    write_whole(path, "newer")
    assert path.read_text() == "newer"
    assert [left.name for left in tmp_path.iterdir()] == ["checkpoint"]
