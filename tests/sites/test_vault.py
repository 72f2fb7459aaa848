"""A vault keeps a turn whole or not at all, and a turn can be done again from the state before it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sites.gate import Code, Refused
from sites.vault import Vault, locked


def keep(root: Path, turn: int, **groups: float) -> None:
    """Do a turn that keeps one number in each of some groups."""
    vault = Vault(root, turn)
    for key, value in groups.items():
        vault.keep(key, {"x": torch.tensor([value])})
    vault.commit()


def held(root: Path, turn: int) -> dict[str, float]:
    """Return what a turn finds in the vault."""
    vault = Vault(root, turn)
    return {key: group["x"].item() for key in vault.keys() if (group := vault.get(key)) is not None}  # noqa: SIM118


def versions(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_a_new_vault_is_empty(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "vault", 1)
    assert vault.keys() == ()
    assert vault.get("prompt") is None


def test_the_next_turn_finds_what_was_kept(tmp_path: Path) -> None:
    vault = Vault(tmp_path, 1)
    kept = {"a": torch.arange(6, dtype=torch.uint8).reshape(2, 3).T, "b": torch.tensor(0.5, dtype=torch.bfloat16)}
    vault.keep("group", kept)
    vault.commit()
    got = Vault(tmp_path, 2).get("group")
    assert got is not None
    assert {name: (t.dtype, t.tolist()) for name, t in got.items()} == {
        name: (t.dtype, t.tolist()) for name, t in kept.items()
    }


def test_a_turn_sees_what_it_keeps_and_drops_itself(tmp_path: Path) -> None:
    keep(tmp_path, 1, a=1, b=2)
    vault = Vault(tmp_path, 2)
    vault.keep("c", {"x": torch.tensor([3.0])})
    vault.drop("a")
    assert vault.keys() == ("b", "c")
    assert vault.get("a") is None
    vault.keep("a", {"x": torch.tensor([4.0])})
    assert vault.keys() == ("a", "b", "c")
    vault.drop("c")
    vault.commit()
    assert held(tmp_path, 3) == {"a": 4, "b": 2}


def test_a_turn_that_does_not_commit_leaves_nothing(tmp_path: Path) -> None:
    keep(tmp_path, 1, a=1)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.safetensors")}
    vault = Vault(tmp_path, 2)
    vault.keep("a", {"x": torch.tensor([9.0])})
    vault.keep("patient-7", {"x": torch.tensor([9.0])})
    vault.drop("a")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.safetensors")} == before
    assert held(tmp_path, 2) == {"a": 1}


def test_a_turn_done_again_starts_from_the_state_before_it(tmp_path: Path) -> None:
    keep(tmp_path, 1, a=1)
    keep(tmp_path, 2, a=2, b=2)
    assert held(tmp_path, 2) == {"a": 1}
    keep(tmp_path, 2, a=3)
    assert held(tmp_path, 3) == {"a": 3}


def test_a_turn_done_again_that_keeps_nothing_undoes_what_it_kept(tmp_path: Path) -> None:
    keep(tmp_path, 1, a=1)
    keep(tmp_path, 2, a=2)
    Vault(tmp_path, 2).commit()
    assert held(tmp_path, 3) == {"a": 1}


def test_a_turn_that_keeps_nothing_changes_nothing(tmp_path: Path) -> None:
    keep(tmp_path, 1, a=1)
    Vault(tmp_path, 2).commit()
    assert versions(tmp_path) == ["turn-000001"]
    assert held(tmp_path, 3) == {"a": 1}


def test_two_versions_are_kept_and_no_more(tmp_path: Path) -> None:
    for turn in (1, 4, 9, 12):
        keep(tmp_path, turn, a=turn)
    assert versions(tmp_path) == ["turn-000009", "turn-000012"]
    assert held(tmp_path, 12) == {"a": 9}


def test_what_is_dropped_is_gone_from_the_disk_after_a_further_version(tmp_path: Path) -> None:
    keep(tmp_path, 1, exemplars=1, model=1)
    vault = Vault(tmp_path, 2)
    vault.drop("exemplars")
    vault.commit()
    assert held(tmp_path, 3) == {"model": 1}
    keep(tmp_path, 3, model=3)
    assert list(tmp_path.rglob("exemplars*")) == []


def test_a_vault_from_which_all_is_dropped_is_empty(tmp_path: Path) -> None:
    keep(tmp_path, 1, a=1)
    vault = Vault(tmp_path, 2)
    vault.drop("a")
    vault.commit()
    assert Vault(tmp_path, 3).keys() == ()


def test_a_group_that_a_turn_does_not_touch_takes_no_further_room(tmp_path: Path) -> None:
    keep(tmp_path, 1, large=1, small=1)
    keep(tmp_path, 2, small=2)
    one, two = tmp_path / "turn-000001", tmp_path / "turn-000002"
    assert (one / "large.safetensors").samefile(two / "large.safetensors")
    assert not (one / "small.safetensors").samefile(two / "small.safetensors")
    keep(tmp_path, 3, small=3)
    assert held(tmp_path, 4) == {"large": 1, "small": 3}


def test_changing_a_tensor_in_place_changes_nothing_that_is_kept(tmp_path: Path) -> None:
    mine = {"x": torch.tensor([1.0])}
    vault = Vault(tmp_path, 1)
    vault.keep("a", mine)
    mine["x"].fill_(9)
    again = vault.get("a")
    assert again is not None
    again["x"].fill_(9)
    vault.commit()
    later = Vault(tmp_path, 2).get("a")
    assert later is not None
    later["x"].fill_(9)
    assert held(tmp_path, 2) == {"a": 1}


def test_a_tensor_in_training_is_kept_as_its_values(tmp_path: Path) -> None:
    vault = Vault(tmp_path, 1)
    vault.keep("a", {"x": torch.nn.Parameter(torch.tensor([1.0])) * 2})
    vault.commit()
    assert held(tmp_path, 2) == {"a": 2}


@pytest.mark.parametrize("key", ["", "../ledger", "/etc/passwd", "a/b", "..", "-rf", "a\0b", "DOE^JANE", "a" * 101])
def test_a_name_that_could_leave_the_vault_is_refused_at_once(key: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="can't name a group"):
        Vault(tmp_path, 1).keep(key, {"x": torch.tensor([1.0])})


@pytest.mark.parametrize("key", ["a", "client.encoder_2-ema", "7", "a.safetensors"])
def test_a_plain_name_is_what_keys_returns(key: str, tmp_path: Path) -> None:
    keep(tmp_path, 1, **{key: 1})
    assert held(tmp_path, 2) == {key: 1}


def test_a_commit_that_was_killed_half_way_is_forgotten(tmp_path: Path) -> None:
    keep(tmp_path, 1, a=1, b=1)
    (tmp_path / "staging").mkdir()
    (tmp_path / "staging" / "b.safetensors").write_bytes(b"half a file")
    (tmp_path / "staging" / "lost.safetensors").write_bytes(b"half a file")
    assert held(tmp_path, 2) == {"a": 1, "b": 1}
    keep(tmp_path, 2, a=2)
    assert held(tmp_path, 3) == {"a": 2, "b": 1}
    assert versions(tmp_path) == ["turn-000001", "turn-000002"]


@pytest.mark.parametrize("moment", ["rename", "rmtree"])
def test_a_turn_killed_while_it_is_done_again_can_be_done_again(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    keep(tmp_path, 1, a=1)
    keep(tmp_path, 2, a=2)
    with monkeypatch.context() as patch:
        patch.setattr(*{"rename": (Path, "rename"), "rmtree": ("shutil.rmtree",)}[moment], killed)
        with pytest.raises(KeyboardInterrupt):
            keep(tmp_path, 2, a=3)
    assert held(tmp_path, 2) == {"a": 1}
    keep(tmp_path, 2, a=4)
    assert held(tmp_path, 3) == {"a": 4}


def test_a_second_message_is_told_that_the_site_is_busy(tmp_path: Path) -> None:
    home = tmp_path / "A"
    with locked(home):
        with pytest.raises(Refused) as refused, locked(home):
            pass
        with locked(tmp_path / "B"):
            pass
    assert refused.value.code is Code.BUSY
    with locked(home):
        pass


def test_the_lock_holds_between_processes_and_dies_with_its_holder(tmp_path: Path) -> None:
    with locked(tmp_path):
        pass
    program = (
        "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.flock(file, fcntl.LOCK_EX); "
        "print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-I", "-S", "-c", program, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(Refused) as refused, locked(tmp_path):
            pass
        other.kill()
    assert refused.value.code is Code.BUSY
    with locked(tmp_path):
        pass


def test_a_failure_under_the_lock_gives_the_lock_back(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    with locked(tmp_path):
        pass
