"""What `wardround doctor` does: look at the installation, and run something small on it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from simulator.terminal import out

if TYPE_CHECKING:
    from simulator.flower.launch import GridName

GIB = 2**30


def examine(*, as_json: bool) -> int:
    """Run every check, print a line for each, and return the exit code: 0 where the installation can run."""
    checks: dict[str, Callable[[], str]] = {
        "packages": _packages,
        "imports": _imports,
        "machine": _machine,
        "local grid": lambda: _run("local"),
        "actor grid": lambda: _run("actors"),
    }
    results = []
    for name, check in checks.items():
        try:
            results.append({"check": name, "ok": True, "found": check()})
        except Exception as error:  # whatever is wrong with an installation is what is asked for here
            results.append({"check": name, "ok": False, "found": str(error) or type(error).__name__})
        if not as_json:
            result = results[-1]
            out.print(f"{'ok  ' if result['ok'] else 'FAIL'}  {name}: {result['found']}", markup=False, soft_wrap=True)
    well = all(result["ok"] for result in results)
    if as_json:
        out.print_json(json.dumps({"ok": well, "checks": results}))
    else:
        out.print("this installation can run" if well else "this installation can't run: mend what FAIL names")
    return 0 if well else 1


def _packages() -> str:
    """Compare what is installed with what the distribution requires."""
    wrong = []
    needed = [Requirement(line) for line in requires("wardround") or []]
    needed = [requirement for requirement in needed if not requirement.marker or requirement.marker.evaluate()]
    for requirement in needed:
        try:
            if not requirement.specifier.contains(version(requirement.name), prereleases=True):
                wrong.append(f"{requirement} is needed, {version(requirement.name)} is there")
        except PackageNotFoundError:
            wrong.append(f"{requirement} is missing")
    if wrong:
        raise RuntimeError("; ".join(wrong) + "; reinstall with `pip install -c constraints.txt wardround`")
    main = ", ".join(f"{name} {version(name)}" for name in ("torch", "flwr", "ray"))
    return f"{len(needed)} as required; Python {platform.python_version()}, {main}"


def _imports() -> str:
    """Make sure that no other distribution shadows our top-level packages."""
    places = {}
    for name in ("sites", "strategies", "simulator"):
        spec = find_spec(name)
        places[name] = Path(spec.origin).parent.parent if spec and spec.origin else None
    if len(set(places.values())) != 1:
        raise RuntimeError(f"packages come from different places, so one shadows another: {places}")
    return f"from {places['sites']}"


def _machine() -> str:
    free = shutil.disk_usage(Path.cwd()).free / GIB
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    if free < 1:
        raise RuntimeError(f"{free:.1f} GiB of disk are free here; make room for at least one")
    return f"{os.cpu_count()} cores, {memory:.0f} GiB of memory, {free:.0f} GiB of disk free here"


def _run(grid: GridName) -> str:
    """Run the smoke schedule in a folder that is thrown away."""
    from simulator.config import shipped
    from simulator.flower.launch import launch
    from simulator.flower.server_app import Silence
    from simulator.schedule import read_schedule
    from simulator.store import Store

    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        schedule = read_schedule(shipped("schedules")["smoke"])
        schedule.check()
        launch(Store.create(Path(folder) / "run", schedule), grid, Silence())
    return f"the smoke schedule ran in {time.monotonic() - started:.0f} s"
