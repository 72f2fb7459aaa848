"""The version of the code that decides a trial's result: a trial that was done by other code is done again."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("sites", "strategies", "simulator")
# What a trial runs, besides its strategy and its source.
RUNS = "simulator.flower.launch"
# Another release of these may give other bits.
LIBRARIES = ("wardround", "torch", "numpy", "scipy", "monai", "diffusers", "opacus")
# Weights that lie beside the code.
WEIGHTS = "*.safetensors"


@cache
def code_version(strategy: str, source: str) -> str:
    """Return the SHA-256 (hex) of the code that a trial runs, given the modules of its strategy and its source.

    It is taken over the versions of this distribution and of the numerical libraries, and over every file that the
    trial's run, its strategy and its source import, directly or not, with the weights beside them: another strategy's
    file does not count. A strategy or source from elsewhere counts with all the Python files of its package.
    """
    digest = hashlib.sha256()
    for library in LIBRARIES:
        with suppress(PackageNotFoundError):
            digest.update(f"{library}=={version(library)}\n".encode())
    digest.update(_hash_of(_reached({RUNS, strategy, source})).encode())
    for module in (strategy, source):
        if module.partition(".")[0] not in PACKAGES:
            digest.update(_hash_of(_elsewhere(module)).encode())
    return digest.hexdigest()


def _reached(modules: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Yield the files of modules and of all that they import from this distribution, with the weights beside them."""
    waiting, seen = list(modules), set[str]()
    while waiting:
        name = waiting.pop()
        path = None if name in seen else _file_of(name)
        seen.add(name)
        if path is None:
            continue
        yield name, path
        if path.name == "__init__.py":
            yield from ((f"{name}/{weights.name}", weights) for weights in path.parent.glob(WEIGHTS))
        waiting += [name.rpartition(".")[0], *_imports_of(path)]


@cache
def _file_of(module: str) -> Path | None:
    """Return the file of one of this distribution's modules; None for what is no such module."""
    if module.partition(".")[0] not in PACKAGES:
        return None
    with suppress(ModuleNotFoundError):
        spec = find_spec(module)
        return Path(spec.origin) if spec and spec.origin else None
    return None


@cache
def _imports_of(path: Path) -> tuple[str, ...]:
    """Return all that a file imports by absolute name, but for types alone.

    Of `from a import b` both a and a.b, since b may be a module.
    """
    return tuple(_imports_in(ast.parse(path.read_bytes())))


def _imports_in(tree: ast.AST) -> Iterator[str]:
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        nodes += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _elsewhere(module: str) -> Iterable[tuple[str, Path]]:
    """Return the Python files of the package that holds a module, or the module's own where there is no package."""
    roots = list(getattr(sys.modules[module.partition(".")[0]], "__path__", ()))
    if not roots:
        return [(module, Path(str(sys.modules[module].__file__)))]
    return [(str(path.relative_to(root)), path) for root in roots for path in Path(root).rglob("*.py")]


def _hash_of(files: Iterable[tuple[str, Path]]) -> str:
    """Return the SHA-256 over files, each with its name, in the order of their names."""
    digest = hashlib.sha256()
    for name, path in sorted(files):
        digest.update(f"{name}\n{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()
