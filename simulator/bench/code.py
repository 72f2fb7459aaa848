"""The version of the code that decides a trial's result: a trial that was done by other code is done again."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("sites", "strategies", "simulator")
# Another release of these may give other bits.
LIBRARIES = ("wardround", "torch", "numpy", "scipy", "monai", "diffusers")
# What only starts runs, or looks at what they left: the bench reads every trial's scores anew.
LOOKING_ON = ("bench", "report", "checking.py", "cli.py", "doctor.py", "metrics.py", "running.py", "terminal.py")


@cache
def code_version(strategy: str, source: str) -> str:
    """Return the SHA-256 (hex) of the code that a trial runs, given the modules of its strategy and its source.

    It is taken over the versions of this distribution and of the numerical libraries, and over every Python file of
    `sites`, `strategies` and `simulator`, apart from the files of `simulator` that only start a run or look at what it
    left. Every strategy's file counts, although a trial reads one: which files share what is not for a hash to guess.
    A strategy or source from elsewhere counts with all the Python files of its package. What is not in it: data on
    disk. After changing a data folder, run the bench in another folder.
    """
    digest = hashlib.sha256(_own().encode())
    for module in (strategy, source):
        if module.partition(".")[0] not in PACKAGES:
            digest.update(_hash_of(_files(module)).encode())
    return digest.hexdigest()


@cache
def _own() -> str:
    digest = hashlib.sha256()
    for library in LIBRARIES:
        with suppress(PackageNotFoundError):
            digest.update(f"{library}=={version(library)}\n".encode())
    for package in PACKAGES:
        root = Path(importlib.import_module(package).__path__[0])
        files = [
            path
            for path in root.rglob("*.py")
            if package != "simulator" or path.relative_to(root).parts[0] not in LOOKING_ON
        ]
        digest.update(_hash_of((f"{package}/{path.relative_to(root)}", path) for path in files).encode())
    return digest.hexdigest()


def _files(module: str) -> Iterable[tuple[str, Path]]:
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
