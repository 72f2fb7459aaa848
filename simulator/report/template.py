"""Fills the templates of reports: one HTML file that holds its own style and needs no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_HERE = Path(__file__).parent


def fill(template: str, extra: tuple[Path, ...] = (), folder: Path = _HERE, **values: Any) -> str:
    """Return a template, found in `folder` or beside this file, filled in; `extra` style sheets follow page.css."""
    places = [folder] if folder == _HERE else [folder, _HERE]
    loader = FileSystemLoader(places)
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    sheets = [path.read_text(encoding="utf-8") for path in (_HERE / "page.css", *extra)]
    return pages.get_template(template).render(css=Markup("\n".join(sheets)), **values)  # noqa: S704 files of this package
