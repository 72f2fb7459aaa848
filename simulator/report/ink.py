"""Turns a matplotlib figure into inline SVG that takes its colours from the page, by day and by night."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

HEAT_LEVELS = 9
LINES = 8
KINDS = ("prompt", "diffusion", "segmenter", "gradient", "statistic", "count", "score", "image", "label")
_NAMES = (
    *("ink", "muted", "rule", "card", "seen", "seen-soft", "unseen", "other"),
    *(f"heat-{level}" for level in range(HEAT_LEVELS)),
    *(f"on-heat-{level}" for level in range(HEAT_LEVELS)),
    *(f"kind-{kind}" for kind in KINDS),
    *(f"line-{number}" for number in range(LINES)),
)
_STAND_IN = re.compile(r"#f0e1([0-9a-f]{2})")


_for_paper: ContextVar[bool] = ContextVar("_for_paper", default=False)


def ink(name: str) -> str:
    """Return a colour that page.css defines as `--name`: a stand-in for it, or on paper its value by day.

    `inline_svg` puts the variable in the stand-in's place.
    """
    return _day()[name] if _for_paper.get() else f"#f0e1{_NAMES.index(name):02x}"


@cache
def _day() -> dict[str, str]:
    css = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", css.split("@media (prefers-color-scheme: dark)")[0]))


def _style() -> dict[str, object]:
    return {
        "svg.fonttype": "none",
        "font.family": "DejaVu Sans",
        "font.size": 9.5,
        "text.parse_math": False,
        "text.color": ink("ink"),
        "axes.labelcolor": ink("muted"),
        "axes.edgecolor": ink("rule"),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "grid.color": ink("rule"),
        "xtick.color": ink("rule"),
        "ytick.color": ink("rule"),
        "xtick.labelcolor": ink("muted"),
        "ytick.labelcolor": ink("muted"),
        "legend.frameon": False,
        "hatch.linewidth": 1.0,
    }


@contextmanager
def drawing(*, paper: bool = False) -> Iterator[None]:
    """Set the fonts and strokes of the report for the figures made inside; names with a $ are no formula.

    paper: for a file that stands alone, in the colours of the day
    """
    before = _for_paper.set(paper)
    try:
        with mpl.rc_context(_style()), warnings.catch_warnings():
            # The browser draws the text, so a glyph that matplotlib's own font lacks is no loss.
            warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing from font")
            yield
    finally:
        _for_paper.reset(before)


def paper_file(figure: Figure, form: str) -> bytes:
    """Return a figure made within `drawing(paper=True)` as a file on white: "png" at 200 dots an inch, or "svg"."""
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "paper"}):
        metadata = {"Date": None} if form == "svg" else {"Software": None}
        figure.savefig(buffer, format=form, dpi=200, facecolor=ink("card"), metadata=metadata)
    return buffer.getvalue()


def inline_svg(figure: Figure, name: str, finding: str) -> Markup:
    """Return a figure as an <svg> element for an HTML page.

    `name` (unique in the page) goes before its ids; `finding` is what a screen reader says in its stead.
    To be called within `drawing()`.
    """
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(buffer.getvalue())  # noqa: S314 matplotlib wrote it just now
    _drop(root, ("metadata", "style"))
    used = set(re.findall(r"#([\w-]+)[)\"]", buffer.getvalue().decode()))
    for element in root.iter():
        element.tag = _local(element.tag)
        attributes = {_local(key): value for key, value in element.attrib.items()}
        element.attrib = {
            key: _attribute(key, value, name) for key, value in attributes.items() if key != "id" or value in used
        }
    root.attrib = {
        "class": "drawing",
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-label": finding,
        "style": f"--natural: {figure.get_figwidth() * 96:.0f}px",
    }
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # noqa: S704 built from a parsed tree


def _attribute(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return value.replace("#", f"#{name}-", 1)
    if key == "clip-path":
        return value.replace("url(#", f"url(#{name}-")
    if key == "style":
        value = value.replace("url(#", f"url(#{name}-")
        return _STAND_IN.sub(lambda found: f"var(--{_NAMES[int(found[1], 16)]})", value)
    return value


def _drop(parent: ElementTree.Element, tags: tuple[str, ...]) -> None:
    for child in list(parent):
        if _local(child.tag) in tags:
            parent.remove(child)
        else:
            _drop(child, tags)


def _local(name: str) -> str:
    return name.rsplit("}", 1)[-1]
