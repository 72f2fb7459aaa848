"""The commands `wardround sites`. Heavy imports wait until a command needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simulator.choices import Format, FormatOption

sites_app = typer.Typer(help="Look at the data of sites.", no_args_is_help=True)


@sites_app.command("check")
def check_sites(
    root: Annotated[Path, typer.Argument(help="A folder ROOT/<site>/{images,masks}/<case>.<ending>.")],
    settings: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE of the folder source.")] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """List every fault of a data folder: unreadable, mismatched, unlabelled or lost files, and split patients."""
    from simulator.checking import check_folder

    raise typer.Exit(check_folder(root, settings or [], as_json=output is Format.JSON))
