"""Turns a matplotlib figure into inline SVG that takes its colours from the page, by day and by night."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

HEAT_LEVELS = 9
LINES = 8
KINDS = (
    *("prompt", "diffusion", "generator", "segmenter", "gradient"),
    *("statistic", "count", "score", "image", "label", "key"),
)
_NAMES = (
    *("ink", "muted", "rule", "card", "seen", "seen-soft", "unseen", "other"),
    *(f"heat-{level}" for level in range(HEAT_LEVELS)),
    *(f"on-heat-{level}" for level in range(HEAT_LEVELS)),
    *(f"kind-{kind}" for kind in KINDS),
    *(f"line-{number}" for number in range(LINES)),
)
_COLOUR = re.compile(r"#[0-9a-f]{6}")
_PLAIN = ("#000000", "#ffffff")  # what matplotlib itself draws with


def ink(name: str) -> str:
    """Return the colour that page.css defines as `--name` by day, so that a figure can go to a file as it is.

    It is off by a hair where another name has the same one: `inline_svg` puts each colour's variable in its place.
    """
    return _inks()[name]


@cache
def _inks() -> dict[str, str]:
    css = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    day = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", css.split("@media (prefers-color-scheme: dark)")[0]))
    found: dict[str, str] = {}
    for name in _NAMES:
        value = int(day[name][1:], 16)
        step = -1 if value & 0xFF > 0x7F else 1
        while f"#{value:06x}" in (*_PLAIN, *found.values()):
            value += step
        found[name] = f"#{value:06x}"
    return found


@cache
def _names() -> dict[str, str]:
    return {colour: name for name, colour in _inks().items()}


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
def drawing() -> Iterator[None]:
    """Set the fonts and strokes of the report for the figures made or written inside; names with a $ are no formula."""
    with mpl.rc_context(_style()), warnings.catch_warnings():
        # The browser draws the text, so a glyph that matplotlib's own font lacks is no loss.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing from font")
        yield


def paper_file(figure: Figure, form: str) -> bytes:
    """Return a figure as a file on white: "png" at 200 dots an inch, or "svg". To be called within `drawing()`."""
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "paper"}):
        metadata = {"Date": None} if form == "svg" else {"Software": None}
        figure.savefig(buffer, format=form, dpi=200, facecolor="#ffffff", metadata=metadata)
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
        return _COLOUR.sub(lambda found: f"var(--{_names()[found[0]]})" if found[0] in _names() else found[0], value)
    return value


def _drop(parent: ElementTree.Element, tags: tuple[str, ...]) -> None:
    for child in list(parent):
        if _local(child.tag) in tags:
            parent.remove(child)
        else:
            _drop(child, tags)


def _local(name: str) -> str:
    return name.rsplit("}", 1)[-1]
