"""A YAML file that knows its lines, so that a mistake in it is named by file, line, key and nearest valid key."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from sites.errors import ConfigError

Place = tuple[str | int, ...]
M = TypeVar("M", bound=BaseModel)

# A bench reads and writes policies thousands of times; libyaml takes a tenth of the time where it is there.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
# Keys that may be given as a bare name, and the key that the name stands for: an override may add settings to it.
SHORTHANDS = {"source": "kind", "strategy": "name"}

OVERRIDE = "--set "


class Document:
    """The content of a YAML file (a mapping) with the origin of each key: a line of the file, or an override."""

    def __init__(self, path: Path, data: dict[str, Any], origins: dict[Place, str]) -> None:
        self.path = path
        self.data = data
        self._origins = origins

    @classmethod
    def read(cls, path: Path) -> Document:
        """Read a file. Raises `ConfigError` where it is missing, not YAML, not a mapping, or repeats a key."""
        try:
            node = yaml.compose(path.read_text(encoding="utf-8"), Loader=LOADER)
        except OSError as error:
            raise ConfigError(f"{path}: can't be read ({error.strerror}); check the path") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: is not UTF-8 text; save it as UTF-8") from error
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise ConfigError(f"{path}:{line}: is not YAML: {error.problem}") from error
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{path}: should hold keys and values, such as 'task: prostate'")
        origins: dict[Place, str] = {}
        return cls(path, _build(node, (), path, origins), origins)

    def override(self, assignment: str) -> None:
        """Take in one `key.sub=value`, its value read as YAML. Raises `ConfigError` where it is not of that form."""
        key, equals, text = assignment.partition("=")
        if not (equals and key):
            raise ConfigError(f"--set {assignment}: write it as key=value, such as budget.rounds=2")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {assignment}: the value is not YAML") from error
        self.assign(key, value, f"{OVERRIDE}{assignment}")

    def assign(self, key: str, value: Any, origin: str) -> None:
        """Set a dotted key to a value that comes from `origin`. Raises `ConfigError` where the key leads nowhere."""
        *parents, last = key.split(".")
        target: Any = self.data
        for depth, part in enumerate(parents):
            inner = _child(target, part)
            if inner is None:
                inner = target[part] = {}
            if isinstance(inner, str) and part in SHORTHANDS:
                inner = target[part] = {SHORTHANDS[part]: inner}
            if not isinstance(inner, dict | list):
                raise ConfigError(f"{origin}: {'.'.join(parents[: depth + 1])} is a single value")
            target = inner
        place = tuple(int(part) if part.isdigit() else part for part in key.split("."))
        try:
            target[place[-1] if isinstance(target, list) else last] = value
        except (IndexError, TypeError) as error:
            raise ConfigError(f"{origin}: the list has no such entry") from error
        self._origins = {known: line for known, line in self._origins.items() if known[: len(place)] != place}
        self._origins[place] = origin

    def origin(self, place: Iterable[str | int]) -> str:
        """Return where a key comes from: `file:line`, or the override that set it."""
        known = tuple(place)
        while known and known not in self._origins:
            known = known[:-1]
        return self._origins.get(known, str(self.path))

    def base(self, place: Iterable[str | int]) -> Path:
        """Return what a relative path under a key is relative to: the folder of the YAML, or the current one."""
        return Path() if self.origin(place).startswith(OVERRIDE) else self.path.parent

    def validated(self, model: type[M], data: Any, at: Place = ()) -> M:
        """Return a model of a part of the document. Raises `ConfigError` with a line for every mistake."""
        try:
            return model.model_validate(data)
        except ValidationError as error:
            lines = [self._sentence(model, dict(problem), at) for problem in error.errors(include_url=False)]
            raise ConfigError("\n".join(dict.fromkeys(lines))) from error

    def _sentence(self, model: type[BaseModel], problem: dict[str, Any], at: Place) -> str:
        inner: Place = problem["loc"]
        where = f"{self.origin((*at, *inner))}: {'.'.join(map(str, (*at, *inner))) or 'the file'}"
        if problem["type"] == "extra_forbidden":
            valid = _fields_at(model, inner[:-1])
            near = difflib.get_close_matches(str(inner[-1]), valid, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"valid keys: {', '.join(valid) or 'none'}"
            return f"{where}: unknown key; {hint}"
        if problem["type"] == "missing":
            return f"{where}: is missing; add it"
        message = str(problem["msg"]).removeprefix("Value error, ")
        got = problem["input"]
        return f"{where}: {message}" + (f" (got {got!r})" if isinstance(got, str | int | float) else "")


def _build(node: yaml.Node, place: Place, path: Path, origins: dict[Place, str]) -> Any:
    """Return a node's plain value, and note the line of every key below it."""
    origins.setdefault(place, f"{path}:{node.start_mark.line + 1}")
    if isinstance(node, yaml.MappingNode):
        built: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            line = f"{path}:{key_node.start_mark.line + 1}"
            if key in built:
                raise ConfigError(f"{line}: {'.'.join(map(str, (*place, key)))}: is given twice; remove one")
            origins[(*place, key)] = line
            built[key] = _build(value_node, (*place, key), path, origins)
        return built
    if isinstance(node, yaml.SequenceNode):
        return [_build(child, (*place, position), path, origins) for position, child in enumerate(node.value)]
    return yaml.constructor.SafeConstructor().construct_object(node)


def _child(target: Any, part: str) -> Any:
    if isinstance(target, list):
        return target[int(part)] if part.isdigit() and int(part) < len(target) else None
    return target.get(part)


def _fields_at(model: type[BaseModel], place: Place) -> list[str]:
    """Return the valid keys of the model that a place inside another model leads to."""
    here = model
    for part in place:
        if isinstance(part, str) and part in here.model_fields:
            here = _model_in(here.model_fields[part].annotation) or here
    return list(here.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _model_in(inner))), None)


def dotted(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield nested settings as dotted keys, each with its value as text."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from dotted(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and any(isinstance(inner, list | Mapping) for inner in value):
        for position, inner in enumerate(value, start=1):
            yield from dotted(inner, f"{prefix}.{position}")
    else:
        yield prefix, ", ".join(map(str, value)) if isinstance(value, list) else str(value)
