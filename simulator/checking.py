"""What `wardround sites check` does: go through a data folder and list every fault."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from simulator.document import Document
from simulator.terminal import out, progress_bar
from sites.errors import UserError
from sites.sources.folder import Fault, FolderConfig, check


def check_folder(root: Path, settings: Sequence[str], *, as_json: bool) -> int:
    """Print every fault of a folder as the folder source would read it; return 0 where there is none, else 1.

    `settings` are key=value of the folder source. Raises `UserError` where the folder or a setting is wrong.
    """
    if not root.is_dir():
        raise UserError(f"{root}: is not a folder; name one of the form ROOT/<site>/{{images,masks}}/<case>.<ending>")
    document = Document(root, {"root": str(root)}, {})
    for assignment in settings:
        document.override(assignment)
    faults: list[Fault] = []
    cases = 0
    with progress_bar() as bar:
        for checked in check(document.validated(FolderConfig, document.data)):
            bar.begin(checked.total, checked.done)
            faults += checked.faults
            cases = checked.total - 1
    if as_json:
        found = [{"file": str(fault.file), "what": fault.what, "sentence": fault.sentence} for fault in faults]
        out.print_json(json.dumps({"ok": not faults, "cases": cases, "faults": found}))
    else:
        for fault in faults:
            out.print(str(fault), markup=False, soft_wrap=True)
        out.print(f"{cases} cases, {len(faults) or 'no'} fault{'' if len(faults) == 1 else 's'}")
    return 1 if faults else 0
