"""Under masks an upload says nothing, and all of a round's uploads together say their sum, to the last bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, ks_2samp
from torch import Tensor

from sites.aggregation import (
    Masks,
    NoAgreement,
    OutOfRange,
    PublicKey,
    Roster,
    _stream,
    encoded,
    masked_manifest,
    mean_of,
    private_key,
    public_key,
    roster_of,
)
from sites.errors import WireError
from sites.secret import Secret
from sites.stream import Turn
from sites.wire import Kind, Payload, Weights, digest_of_body, manifest_of, unpack

TURN = Turn(step=2, round=3, serial=7)
DOWN = {"segmenter": b"what came down"}
ERROR = Fraction(1, 2**33)


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """What a site would release: weights with a counter among them, and its number of cases."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    cases: Annotated[Tensor, Kind.COUNT]


def upload(values: Sequence[float], cases: int = 1, counter: int = 0) -> Upload:
    weights = {"w": torch.tensor(values, dtype=torch.float32), "n": torch.tensor(counter)}
    return Upload(segmenter=weights, cases=torch.tensor([cases]))


@dataclass(frozen=True, kw_only=True)
class Round:
    """The sites of a round, each with its secret; they sit at the places 0, 2, 4... of a schedule's sites."""

    secrets: tuple[Secret, ...]
    turn: Turn = TURN
    down: Mapping[str, bytes] = field(default_factory=lambda: DOWN)

    @property
    def keys(self) -> dict[int, X25519PrivateKey]:
        return {2 * number: private_key(secret, self.turn) for number, secret in enumerate(self.secrets)}

    @property
    def roster(self) -> Roster:
        public = {place: public_key(key) for place, key in self.keys.items()}
        return roster_of(public, dict.fromkeys(public, self.down), 2 * len(public))

    def masks(self, number: int, weight: str | None = "cases", roster: Roster | None = None) -> Masks:
        down = digest_of_body(self.down)
        place = 2 * number
        return Masks(self.keys[place], roster or self.roster, self.turn, own=place, down=down, weight=weight)

    def hidden(self, uploads: Sequence[Upload], weight: str | None = "cases") -> list[Upload]:
        """The uploads as the server gets them."""
        return [
            opened(self.masks(number, weight).hide(one, manifest_of(one)), one) for number, one in enumerate(uploads)
        ]


def opened(body: Mapping[str, bytes], like: Upload) -> Upload:
    return unpack(like, masked_manifest(manifest_of(like)), body)


def secrets(count: int, name: str = "site") -> tuple[Secret, ...]:
    return tuple(Secret(f"{name} {number}".encode()) for number in range(count))


def mean(uploads: Sequence[Upload], like: Upload, weight: str | None = "cases") -> Upload:
    return mean_of(uploads, like, manifest_of(like), weight)


def words(seen: Upload) -> np.ndarray[Any, np.dtype[np.uint64]]:
    return seen.segmenter["w"].numpy()


VALUES = st.floats(min_value=-1e4, max_value=1e4, width=32)
SITES = st.integers(2, 5).flatmap(
    lambda count: st.integers(1, 6).flatmap(
        lambda length: st.lists(
            st.tuples(st.lists(VALUES, min_size=length, max_size=length), st.integers(1, 500), st.integers(0, 10**6)),
            min_size=count,
            max_size=count,
        )
    )
)


@given(sites=SITES)
@settings(max_examples=60)
def test_the_sum_of_masked_uploads_is_their_weighted_mean(
    sites: list[tuple[list[float], int, int]],
) -> None:
    uploads = [upload(values, cases, counter) for values, cases, counter in sites]
    got = mean(Round(secrets=secrets(len(uploads))).hidden(uploads), uploads[0])
    total = sum(cases for _, cases, _ in sites)
    assert got.cases.tolist() == [total]
    for column, value in enumerate(got.segmenter["w"].tolist()):
        exact = sum(Fraction(values[column]) * cases for values, cases, _ in sites) / total
        # Half a unit in the last place of float32, beside the quantisation.
        assert abs(Fraction(value) - exact) <= ERROR + abs(exact) * Fraction(1, 2**23)
    counted = sum(Fraction(counter) * cases for _, cases, counter in sites) / total
    assert abs(int(got.segmenter["n"]) - counted) <= Fraction(1, 2)


@given(sites=SITES, name=st.text(max_size=5))
@settings(max_examples=30)
def test_the_masks_change_no_bit_of_the_sum(sites: list[tuple[list[float], int, int]], name: str) -> None:
    uploads = [upload(values, cases, counter) for values, cases, counter in sites]
    bare = [
        opened(
            {key: part.tobytes() for key, part in encoded(one, manifest_of(one), "cases", len(uploads)).items()}, one
        )
        for one in uploads
    ]
    plain, masked = (
        mean(seen, uploads[0]) for seen in (bare, Round(secrets=secrets(len(uploads), name)).hidden(uploads))
    )
    assert torch.equal(plain.segmenter["w"], masked.segmenter["w"])
    assert torch.equal(plain.segmenter["n"], masked.segmenter["n"])


def test_sites_that_count_alike_are_averaged_alike() -> None:
    uploads = [upload([1.0, -4.0], cases=1), upload([2.0, 0.5], cases=9)]
    got = mean(Round(secrets=secrets(2)).hidden(uploads, weight=None), uploads[0], weight=None)
    assert got.segmenter["w"].tolist() == [1.5, -1.75]


def test_a_masked_upload_is_spread_evenly_whatever_it_holds() -> None:
    """Each byte of a word by itself: the high ones of small weights would otherwise be all alike."""
    size, sites = 20_000, Round(secrets=secrets(3))
    contents = {"zeros": [0.0] * size, "ones": [1.0] * size, "rising": np.linspace(-1, 1, size).tolist()}
    seen = {
        name: words(opened(sites.masks(0).hide(upload(values, 5), manifest_of(upload(values, 5))), upload(values)))
        for name, values in contents.items()
    }
    for name, found in seen.items():
        for byte in found.view(np.uint8).reshape(-1, 8).T:
            assert chisquare(np.bincount(byte, minlength=256)).pvalue > 1e-4, name
        plain = np.asarray(contents["rising"])
        assert abs(np.corrcoef(found.astype(float), plain)[0, 1]) < 0.03
    other = Round(secrets=secrets(3, "another round"))
    ones = upload(contents["ones"])
    assert ks_2samp(seen["zeros"], words(opened(other.masks(0).hide(ones, manifest_of(ones)), ones))).pvalue > 0.01


def test_all_but_one_of_the_uploads_say_nothing_either() -> None:
    size, sites = 20_000, Round(secrets=secrets(4))
    hidden = sites.hidden([upload([1.0] * size)] * 4)
    some = np.sum([words(one) for one in hidden[:3]], axis=0, dtype=np.uint64)
    for byte in some.view(np.uint8).reshape(-1, 8).T:
        assert chisquare(np.bincount(byte, minlength=256)).pvalue > 1e-4
    with pytest.raises(WireError, match="do not cancel"):
        mean(hidden[:3], upload([1.0] * size))


def test_all_others_together_with_the_server_recover_the_last_one() -> None:
    """What secure aggregation does not protect from, as docs/defences.md says."""
    uploads = [upload([0.25], 2), upload([-8.5], 3), upload([4.0], 5)]
    got = mean(Round(secrets=secrets(3)).hidden(uploads), uploads[0])
    known = sum(float(one.segmenter["w"]) * int(one.cases) for one in uploads[:2])
    cases = int(got.cases) - sum(int(one.cases) for one in uploads[:2])
    assert (float(got.segmenter["w"]) * int(got.cases) - known) / cases == pytest.approx(4.0)


def masks_of(sites: Round) -> np.ndarray[Any, np.dtype[np.uint64]]:
    zeros = upload([0.0] * 1000)
    return words(opened(sites.masks(0).hide(zeros, manifest_of(zeros)), zeros))


@pytest.mark.parametrize(
    "other",
    [
        Round(secrets=secrets(3), turn=replace(TURN, round=4)),
        Round(secrets=secrets(3), turn=replace(TURN, serial=8)),
        Round(secrets=secrets(3), down={"segmenter": b"something else"}),
        Round(secrets=secrets(4)),
        Round(secrets=(*secrets(2), Secret(b"another"))),
    ],
    ids=["round", "serial", "what came down", "one more site", "another site"],
)
def test_anything_else_has_other_masks_and_the_same_has_the_same(other: Round) -> None:
    same, again = masks_of(Round(secrets=secrets(3))), masks_of(Round(secrets=secrets(3)))
    assert np.array_equal(same, again)
    assert not np.isin(same, masks_of(other)).any()


def test_what_another_site_got_belongs_to_the_masks_too() -> None:
    sites = Round(secrets=secrets(2))
    public = {place: public_key(key) for place, key in sites.keys.items()}
    roster = roster_of(public, {0: DOWN, 2: {"segmenter": b"for the other alone"}}, 4)
    zeros = upload([0.0] * 1000)
    own = sites.masks(0, roster=roster).hide(zeros, manifest_of(zeros))
    assert not np.isin(words(opened(own, zeros)), masks_of(sites)).any()


def test_a_site_that_was_told_another_key_does_not_cancel() -> None:
    sites, stranger = Round(secrets=secrets(3)), Round(secrets=(*secrets(2), Secret(b"a stranger")))
    uploads = [upload([1.0])] * 3
    hidden = sites.hidden(uploads)
    hidden[0] = opened(sites.masks(0, roster=stranger.roster).hide(uploads[0], manifest_of(uploads[0])), uploads[0])
    with pytest.raises(WireError, match="do not cancel"):
        mean(hidden, uploads[0])


def test_a_site_agrees_on_nothing_but_with_its_own_key_for_what_came_down_to_it() -> None:
    sites, other = Round(secrets=secrets(3)), Round(secrets=secrets(3, "other"))
    with pytest.raises(NoAgreement, match="own key"):
        sites.masks(0, roster=other.roster)
    with pytest.raises(NoAgreement, match="something else came down"):
        sites.masks(0, roster=roster_of(_public(sites), {place: {"segmenter": b"else"} for place in sites.keys}, 6))
    weak = {**_public(sites), 2: PublicKey(public_key=torch.tensor([1] + 31 * [0], dtype=torch.uint8))}
    with pytest.raises(NoAgreement, match="place 2"):
        sites.masks(0, roster=roster_of(weak, dict.fromkeys(weak, DOWN), 6))


def _public(sites: Round) -> dict[int, PublicKey]:
    return {place: public_key(key) for place, key in sites.keys.items()}


@pytest.mark.parametrize("count", [2, 3, 7])
def test_the_largest_values_of_all_sites_do_not_wrap(count: int) -> None:
    largest = float(np.nextafter(np.float32((2**63 - 1) // count / 2**32 / 20), np.float32(0)))
    for sign in (1, -1):
        uploads = [upload([sign * largest], cases=20)] * count
        assert mean(Round(secrets=secrets(count)).hidden(uploads), uploads[0]).segmenter["w"].item() == sign * largest
        beyond = upload([sign * largest * 1.01], cases=20)
        with pytest.raises(OutOfRange):
            encoded(beyond, manifest_of(beyond), "cases", count)


@pytest.mark.parametrize(
    ("value", "cases", "counter"),
    [(1e30, 1, 0), (0.0, 0, 0), (0.0, -3, 0), (0.0, 2**31, 0), (0.0, 1, -(2**63)), (0.0, 5, 2**61)],
)
def test_what_would_not_fit_is_refused_and_never_wraps(value: float, cases: int, counter: int) -> None:
    one = upload([value], cases, counter)
    with pytest.raises(OutOfRange):
        Round(secrets=secrets(3)).masks(0).hide(one, manifest_of(one))


def test_the_stream_is_that_of_the_standard() -> None:
    """RFC 8439, appendix A.1, first test vector."""
    standard = "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
    assert _stream(bytes(32), 4).astype("<u8").tobytes().hex() == standard


def test_a_key_is_that_of_a_turn_and_a_secret() -> None:
    keys = {
        bytes(public_key(private_key(secret, turn)).public_key.tolist())
        for secret in secrets(2)
        for turn in (TURN, TURN, replace(TURN, step=1))
    }
    assert len(keys) == 4
