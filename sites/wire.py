"""What a message may hold: declared tensors, each of a kind; there is no kind for text or bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
import torch
from torch import Tensor

from sites.errors import WireError


class Kind(StrEnum):
    """What a released tensor is, in words that a site's policy can admit or refuse."""

    PROMPT = "prompt"
    DIFFUSION = "diffusion"
    GENERATOR = "generator"
    SEGMENTER = "segmenter"
    GRADIENT = "gradient"
    STATISTIC = "statistic"
    COUNT = "count"
    SCORE = "score"
    IMAGE = "image"
    LABEL = "label"
    KEY = "key"


Weights = Mapping[str, Tensor]

DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "int64": torch.int64,
    "uint8": torch.uint8,
    "uint64": torch.uint64,
}


@dataclass(frozen=True, kw_only=True)
class Payload:
    """Base of every message body: a frozen dataclass of `Annotated[Tensor | Weights, Kind]` fields and nothing else."""


P = TypeVar("P", bound=Payload)


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """One tensor of a message: its declared field, its name within it (empty for a lone tensor), kind and form."""

    field: str
    name: str
    kind: Kind
    dtype: str
    shape: tuple[int, ...]

    @property
    def key(self) -> str:
        return f"{self.field}/{self.name}" if self.name else self.field

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * DTYPES[self.dtype].itemsize


Manifest = tuple[Leaf, ...]


def kinds_of(payload: type[Payload]) -> Mapping[str, Kind]:
    """Return the kind of each declared field. Raises `WireError` for a field that declares none."""
    kinds: dict[str, Kind] = {}
    for name, hint in get_type_hints(payload, include_extras=True).items():
        marks = [mark for mark in get_args(hint)[1:] if isinstance(mark, Kind)]
        if get_origin(hint) is not Annotated or len(marks) != 1:
            raise WireError(f"{payload.__name__}.{name} must be Annotated[Tensor | Weights, Kind]")
        kinds[name] = marks[0]
    return kinds


def manifest_of(blank: Payload) -> Manifest:
    """Return the manifest of a payload that was built without data.

    Raises `WireError` where a leaf is not a tensor, or is of a dtype that the wire does not carry.
    """
    kinds = kinds_of(type(blank))
    leaves = []
    for field, name, tensor in _tensors(blank):
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in DTYPES:
            raise WireError(f"{field}/{name}: the wire carries {', '.join(DTYPES)}, not {dtype}")
        leaves.append(Leaf(field=field, name=name, kind=kinds[field], dtype=dtype, shape=tuple(tensor.shape)))
    return tuple(leaves)


def fingerprint(manifest: Manifest) -> str:
    """Return a digest by which two ends see that they mean the same manifest."""
    rows = [[leaf.field, leaf.name, leaf.kind, leaf.dtype, list(leaf.shape)] for leaf in manifest]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def pack(payload: Payload, manifest: Manifest) -> dict[str, bytes]:
    """Return the bytes of each leaf, by key, in the manifest's order (little endian, C order).

    Raises `WireError` where the payload differs in any way from its manifest.
    """
    kinds_of(type(payload))
    extra = vars(payload).keys() - {field.name for field in fields(payload)}
    tensors = {(field, name): tensor for field, name, tensor in _tensors(payload)}
    if extra or tensors.keys() != {(leaf.field, leaf.name) for leaf in manifest}:
        raise WireError("the payload has other names than its manifest")
    packed: dict[str, bytes] = {}
    for leaf in manifest:
        tensor = tensors[leaf.field, leaf.name]
        if tensor.dtype != DTYPES[leaf.dtype] or tuple(tensor.shape) != leaf.shape:
            raise WireError(f"{leaf.key} is not {leaf.dtype}{list(leaf.shape)}")
        if tensor.is_meta or tensor.layout is not torch.strided:
            raise WireError(f"{leaf.key} holds no values of its own (a meta or sparse tensor)")
        packed[leaf.key] = tensor.contiguous().numpy(force=True).tobytes()
    return packed


def unpack(blank: P, manifest: Manifest, packed: Mapping[str, bytes]) -> P:
    """Rebuild a payload of the blank's type from bytes; every tensor is fresh memory.

    Raises `WireError` where names or lengths differ from the manifest.
    """
    if packed.keys() != {leaf.key for leaf in manifest}:
        raise WireError("the message has other names than its manifest")
    values: dict[str, Any] = {name: {} for name in kinds_of(type(blank))}
    for leaf in manifest:
        data = packed[leaf.key]
        if len(data) != leaf.nbytes:
            raise WireError(f"{leaf.key} is {len(data)} bytes long, not {leaf.nbytes}")
        tensor = torch.frombuffer(bytearray(data), dtype=DTYPES[leaf.dtype]) if data else torch.empty(0)
        shaped = tensor.to(DTYPES[leaf.dtype]).reshape(leaf.shape)
        if leaf.name:
            values[leaf.field][leaf.name] = shaped
        else:
            values[leaf.field] = shaped
    return type(blank)(**values)


def digest_of_body(packed: Mapping[str, bytes]) -> str:
    """Return the SHA-256 of all that a message holds, whatever the order of its leaves."""
    digest = hashlib.sha256()
    for key, data in sorted(packed.items()):
        digest.update(f"{key} {len(data)} ".encode() + data)
    return digest.hexdigest()


def leaves_of(payload: Payload) -> dict[str, Tensor]:
    """Return the tensors of a payload by the key of their leaf."""
    return {f"{field}/{name}" if name else field: tensor for field, name, tensor in _tensors(payload)}


def _tensors(payload: Payload) -> list[tuple[str, str, Tensor]]:
    """List the leaves as (field, name, tensor): declared fields in order, names within one sorted."""
    found: list[tuple[str, str, Tensor]] = []
    for field in kinds_of(type(payload)):
        value = getattr(payload, field)
        held = isinstance(value, Mapping)
        named = list(value.items()) if held else [("", value)]
        if not all(isinstance(name, str) and bool(name) == held and isinstance(item, Tensor) for name, item in named):
            raise WireError(f"{type(payload).__name__}.{field} holds something that is not a tensor, or has no name")
        found.extend((field, name, tensor) for name, tensor in sorted(named, key=lambda pair: pair[0]))
    return found
