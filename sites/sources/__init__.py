"""Where cases come from: one module or package per dataset layout, which holds a SourceKind as SOURCE."""

from __future__ import annotations

import importlib
import pkgutil
from difflib import get_close_matches
from typing import Any

from sites.errors import SourceError
from sites.stream import SourceKind


def known() -> tuple[str, ...]:
    """Return the kinds that this project ships: every module and package of this folder."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def load(kind: str) -> SourceKind[Any]:
    """Return the SOURCE of a kind: one of `known()`, or the dotted name of a module outside this repository.

    Raises:
        SourceError: there is no such module, it cannot be imported, or it holds no SOURCE
    """
    outside = "." in kind
    if not outside and kind not in known():
        near = get_close_matches(kind, known(), n=1)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        raise SourceError(
            f"kind: there is no source {kind!r}{meant}; the kinds are {', '.join(known())}, "
            "or write the dotted name of a module of your own"
        )
    name = kind if outside else f"{__name__}.{kind}"
    try:
        module = importlib.import_module(name)
    # An empty part of a dotted name raises ValueError or TypeError rather than ImportError.
    except (ImportError, ValueError, TypeError) as error:
        raise SourceError(f"kind: the source {kind!r} cannot be imported: {error}") from error
    source = getattr(module, "SOURCE", None)
    if not isinstance(source, SourceKind):
        raise SourceError(f"kind: {kind!r} holds no SOURCE; add `SOURCE = SourceKind(config=..., open=...)` to it")
    return source
