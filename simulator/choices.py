"""What the options of the command may be."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class GridName(StrEnum):
    """Where sites run: in this process, on Ray, or each in a deployment of its own with its wire watched."""

    LOCAL = "local"
    ACTORS = "actors"
    WIRE = "wire"


class Format(StrEnum):
    """How results are printed."""

    TEXT = "text"
    JSON = "json"


class Track(StrEnum):
    """Where the trials of a bench are shown besides its own tables."""

    TENSORBOARD = "tensorboard"
    MLFLOW = "mlflow"


class ListFormat(StrEnum):
    """How a list is printed."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


FormatOption = Annotated[Format, typer.Option("--format", help="Print text for people or JSON for machines.")]
