"""The version of the code: it changes with what can change a result."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from simulator.bench import code

SHIPPED = ("strategies.finetune", "sites.sources.phantom")


@pytest.fixture(autouse=True)
def fresh() -> None:
    """Forget the versions that were taken before: they are kept for the life of a process."""
    code.code_version.cache_clear()


def test_it_is_the_same_as_long_as_the_code_is() -> None:
    before = code.code_version(*SHIPPED)
    code.code_version.cache_clear()
    assert code.code_version(*SHIPPED) == before
    assert code.code_version("strategies.joint", SHIPPED[1]) != before


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("simulator/loop.py", True),
        ("strategies/finetune.py", True),
        ("strategies/setting.py", True),
        ("strategies/common/segmenter.py", True),
        ("sites/sources/phantom/scanners.py", True),
        ("strategies/ewc.py", False),
        ("strategies/common/promptbook.py", False),
        ("sites/sources/brain.py", False),
        ("sites/scoring.py", True),
        ("simulator/flower/records.py", True),
        ("simulator/cli.py", False),
        ("simulator/metrics.py", False),
        ("simulator/report/page.py", False),
        ("simulator/bench/live.py", False),
    ],
)
def test_which_files_count(file: str, counts: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    before = code.code_version(*SHIPPED)
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b"#" * str(path).endswith(file))
    code.code_version.cache_clear()
    assert (code.code_version(*SHIPPED) != before) is counts


def test_the_weights_of_the_backbone_count(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = ("strategies.smdr", SHIPPED[1])
    before = code.code_version(*pair)
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b"#" * (path.suffix == ".safetensors"))
    code.code_version.cache_clear()
    assert code.code_version(*pair) != before


def test_another_release_of_a_numerical_library_is_other_code(monkeypatch: pytest.MonkeyPatch) -> None:
    before = code.code_version(*SHIPPED)
    monkeypatch.setattr(code, "version", lambda library: "99")
    code.code_version.cache_clear()
    assert code.code_version(*SHIPPED) != before


@pytest.mark.parametrize("layout", ["package", "file"])
def test_a_strategy_from_elsewhere_counts_with_its_files(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"elsewhere_{layout}"
    inside = tmp_path / name / "mine.py" if layout == "package" else tmp_path / f"{name}.py"
    inside.parent.mkdir(exist_ok=True)
    inside.write_text("A = 1\n")
    module = f"{name}.mine" if layout == "package" else name
    monkeypatch.syspath_prepend(tmp_path)
    __import__(module)
    before = code.code_version(module, SHIPPED[1])
    inside.write_text("A = 2\n")
    code.code_version.cache_clear()
    assert code.code_version(module, SHIPPED[1]) != before
    for loaded in [loaded for loaded in sys.modules if loaded.startswith(name)]:
        del sys.modules[loaded]
