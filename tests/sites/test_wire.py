"""A message holds its declared tensors, bit by bit, and nothing that was not declared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

from sites.errors import WireError
from sites.wire import DTYPES, Kind, Leaf, Manifest, Payload, Weights, fingerprint, kinds_of, manifest_of, pack, unpack


@dataclass(frozen=True, kw_only=True)
class Letter(Payload):
    """A message as strategies declare them."""

    prompt: Annotated[Tensor, Kind.PROMPT]
    diffusion: Annotated[Weights, Kind.DIFFUSION]


@dataclass(frozen=True, kw_only=True)
class LongerLetter(Letter):
    """A letter with a field more than was declared."""

    postscript: Annotated[Tensor, Kind.PROMPT]


@dataclass(frozen=True, kw_only=True)
class Unmarked(Payload):
    """Declares no kind."""

    prompt: Tensor


@dataclass(frozen=True, kw_only=True)
class TwiceMarked(Payload):
    """Declares two kinds."""

    prompt: Annotated[Tensor, Kind.PROMPT, Kind.LABEL]


def letter() -> Letter:
    return Letter(prompt=torch.arange(6.0).reshape(2, 3), diffusion={"b": torch.ones(2), "a": torch.zeros(1)})


def blank_of(payload: Letter) -> Letter:
    """Return the payload's form without its values."""
    return Letter(prompt=_meta(payload.prompt), diffusion={k: _meta(v) for k, v in payload.diffusion.items()})


def _meta(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")


def bits(tensor: Tensor) -> tuple[str, tuple[int, ...], bytes]:
    return str(tensor.dtype), tuple(tensor.shape), tensor.numpy().tobytes()


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """Any bits at all in any form the wire carries: NaN payloads, negative zeros, no elements, strided views."""
    dtype = draw(st.sampled_from(list(DTYPES)))
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    size = int(np.prod(shape, dtype=int)) * np.dtype(dtype).itemsize
    values = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), dtype=dtype).reshape(shape)
    tensor = torch.from_numpy(values.copy())
    return tensor.permute(draw(st.permutations(range(len(shape)))))


weights = st.dictionaries(st.text(min_size=1, max_size=12), tensors(), max_size=4)
leaves = st.builds(
    Leaf,
    field=st.sampled_from(["prompt", "diffusion"]),
    name=st.text(max_size=3),
    kind=st.sampled_from(Kind),
    dtype=st.sampled_from(list(DTYPES)),
    shape=st.lists(st.integers(0, 3), max_size=3).map(tuple),
)
manifests = st.lists(leaves, max_size=4).map(tuple)


@given(prompt=tensors(), diffusion=weights)
def test_every_bit_survives_the_way_through_the_wire(prompt: Tensor, diffusion: Mapping[str, Tensor]) -> None:
    sent = Letter(prompt=prompt, diffusion=diffusion)
    blank = blank_of(sent)
    got = unpack(blank, manifest_of(blank), pack(sent, manifest_of(blank)))
    assert type(got) is Letter
    assert bits(got.prompt) == bits(prompt)
    assert {name: bits(tensor) for name, tensor in got.diffusion.items()} == {
        name: bits(tensor) for name, tensor in diffusion.items()
    }


def test_what_arrives_is_fresh_memory() -> None:
    sent = letter()
    manifest = manifest_of(sent)
    packed = pack(sent, manifest)
    got = unpack(sent, manifest, packed)
    got.prompt.fill_(9)
    assert torch.equal(sent.prompt, letter().prompt)
    assert packed == pack(letter(), manifest)


def test_a_parameter_that_is_being_trained_is_sent_as_its_values() -> None:
    sent = replace(letter(), prompt=nn.Parameter(letter().prompt))
    assert pack(sent, manifest_of(letter())) == pack(letter(), manifest_of(letter()))


def test_a_message_is_listed_in_the_order_of_its_declaration_then_of_names() -> None:
    assert [leaf.key for leaf in manifest_of(letter())] == ["prompt", "diffusion/a", "diffusion/b"]
    assert list(pack(letter(), manifest_of(letter()))) == ["prompt", "diffusion/a", "diffusion/b"]


def test_a_manifest_says_how_many_bytes_leave() -> None:
    packed = pack(letter(), manifest_of(letter()))
    assert {leaf.key: leaf.nbytes for leaf in manifest_of(letter())} == {key: len(data) for key, data in packed.items()}


@given(one=manifests, other=manifests)
def test_two_manifests_have_one_fingerprint_only_where_they_are_the_same(one: Manifest, other: Manifest) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (one == other)


@given(
    leaf=leaves,
    change=st.sampled_from(["field", "name", "kind", "dtype", "shape"]),
    to=leaves,
)
def test_a_fingerprint_changes_with_any_one_thing(leaf: Leaf, change: str, to: Leaf) -> None:
    changed = replace(leaf, **{change: getattr(to, change)})
    assume(changed != leaf)
    assert fingerprint((changed,)) != fingerprint((leaf,))


def test_a_fingerprint_is_the_same_in_every_process() -> None:
    assert fingerprint(manifest_of(letter())) == "8004aea34e118fbb"


@pytest.mark.parametrize("kind", [Unmarked, TwiceMarked])
def test_a_field_that_does_not_declare_one_kind_is_refused(kind: type[Payload]) -> None:
    with pytest.raises(WireError, match="must be Annotated"):
        kinds_of(kind)
    with pytest.raises(WireError, match="must be Annotated"):
        manifest_of(kind(prompt=torch.zeros(1)))


@pytest.mark.parametrize("value", ["DOE^JANE", b"DOE^JANE", [1.0], None, 3.0, np.zeros(6), {"a": "DOE^JANE"}])
def test_what_is_not_a_tensor_is_refused(value: Any) -> None:
    with pytest.raises(WireError, match="not a tensor"):
        pack(replace(letter(), prompt=value), manifest_of(letter()))
    with pytest.raises(WireError, match="not a tensor"):
        manifest_of(replace(letter(), prompt=value))


@pytest.mark.parametrize(
    "named", [{"": torch.zeros(1)}, {3: torch.zeros(1), "a": torch.zeros(1)}, {"a": {"b": torch.zeros(1)}}]
)
def test_weights_that_are_not_tensors_by_name_are_refused(named: Any) -> None:
    with pytest.raises(WireError, match="not a tensor"):
        pack(replace(letter(), diffusion=named), manifest_of(letter()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int32, torch.bool])
def test_another_dtype_is_refused_at_either_end(dtype: torch.dtype) -> None:
    other = replace(letter(), prompt=letter().prompt.to(dtype))
    with pytest.raises(WireError, match="prompt is not float32"):
        pack(other, manifest_of(letter()))
    with pytest.raises(WireError, match="the wire carries"):
        manifest_of(other)


@pytest.mark.parametrize("shape", [(2, 4), (3, 2), (6,), (2, 3, 1), (1, 2, 3), (0, 3)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(WireError, match=r"prompt is not float32\[2, 3\]"):
        pack(replace(letter(), prompt=torch.zeros(shape)), manifest_of(letter()))


@pytest.mark.parametrize("names", [("a",), ("a", "b", "c"), ("a", "patient-7"), ()])
def test_weights_with_a_name_more_or_less_are_refused(names: tuple[str, ...]) -> None:
    other = replace(letter(), diffusion=dict.fromkeys(names, torch.ones(2)))
    with pytest.raises(WireError, match="other names"):
        pack(other, manifest_of(letter()))


def test_a_tensor_in_place_of_weights_is_refused() -> None:
    with pytest.raises(WireError, match="other names"):
        pack(replace(letter(), diffusion=torch.ones(2)), manifest_of(letter()))


def test_something_hung_onto_the_object_is_refused() -> None:
    smuggler = letter()
    object.__setattr__(smuggler, "patient", "DOE^JANE")
    with pytest.raises(WireError, match="other names"):
        pack(smuggler, manifest_of(letter()))


def test_a_subclass_with_a_field_more_is_refused() -> None:
    longer = LongerLetter(**vars(letter()), postscript=torch.zeros(1))
    with pytest.raises(WireError, match="other names"):
        pack(longer, manifest_of(letter()))


def test_a_form_without_values_is_not_sent() -> None:
    with pytest.raises(WireError, match="no values"):
        pack(blank_of(letter()), manifest_of(letter()))


def test_a_sparse_tensor_is_not_sent() -> None:
    with pytest.raises(WireError, match="no values"):
        pack(replace(letter(), prompt=letter().prompt.to_sparse()), manifest_of(letter()))


@given(
    key=st.sampled_from(["prompt", "diffusion/a", "diffusion/b"]), cut=st.integers(0, 24), more=st.binary(max_size=9)
)
def test_a_message_of_another_length_is_refused(key: str, cut: int, more: bytes) -> None:
    packed = pack(letter(), manifest_of(letter()))
    tampered = packed[key][:cut] + more
    assume(len(tampered) != len(packed[key]))
    with pytest.raises(WireError, match="bytes long"):
        unpack(letter(), manifest_of(letter()), {**packed, key: tampered})


def test_a_message_with_a_part_more_or_less_is_refused() -> None:
    packed = pack(letter(), manifest_of(letter()))
    for tampered in ({**packed, "note": b"DOE^JANE"}, {"prompt": packed["prompt"]}, {}):
        with pytest.raises(WireError, match="other names"):
            unpack(letter(), manifest_of(letter()), tampered)
