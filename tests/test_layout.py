"""The house: where packages come from, how long files are, and that strategies stand alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("sites", "strategies", "simulator", "benchmarks")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_come_from_this_checkout(package: str) -> None:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).parent == ROOT / package


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_short_and_opens_with_one_sentence(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 260
    first = (ast.get_docstring(ast.parse(text)) or "").split("\n\n")[0]
    assert first.endswith("."), "the first paragraph says what the file is for"


def test_a_strategy_imports_no_other_strategy() -> None:
    for path in (ROOT / "strategies").glob("*.py"):
        imported = {
            node.module
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and node.module
        }
        siblings = {f"strategies.{other.stem}" for other in (ROOT / "strategies").glob("*.py")}
        assert not imported & (siblings - {"strategies.setting", "strategies.__init__"}), path.name


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; from simulator.cli import app; app(['--help'], standalone_mode=False); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "monai", "ray", "flwr", "pandas", "matplotlib", "diffusers"} & set(modules)
