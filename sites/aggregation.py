"""Secure aggregation: what a site uploads is hidden in masks that cancel in the sum over all sites of a round.

Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine Learning", CCS 2017, section 4, against a
server that follows the protocol and reads all it gets (their masking with one mask). Any two sites agree on a key by
X25519 over public keys that the server relays; the one that comes first adds the key's stream (ChaCha20) to its upload,
the other subtracts it. Recovery from dropouts is left out: a run stops where a site fails, and does the round again.

Numbers are whole ones modulo 2^64, so that a sum is exact in any order and under any mask: a float is a multiple of
2^-32, times the site's weight. A sum that would not fit is refused before it is masked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Annotated, TypeVar

import numpy as np
import torch
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from sites.errors import WardroundError, WireError
from sites.secret import KEY_BYTES, Secret
from sites.stream import Turn
from sites.wire import DTYPES, Kind, Manifest, Payload, digest_of_body, leaves_of, unpack

FRACTION_BITS = 32
LARGEST = 2**63 - 1
MOST_WEIGHT = 2**31 - 1
MASKED = "uint64"

P = TypeVar("P", bound=Payload)
Words = NDArray[np.uint64]


class OutOfRange(WardroundError):
    """A value is too large for the sum of a round to hold it."""


class NoAgreement(WardroundError):
    """The roster is not one that a site can agree on masks by."""


class SecureAggregation(BaseModel):
    """What a site asks of a round. least: how many sites must be in a sum, itself included, before it takes part."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    least: int = Field(default=3, ge=2)


@dataclass(frozen=True, kw_only=True)
class PublicKey(Payload):
    """What a site gives the others of a round, through the server: its X25519 public key of that turn, uint8 [32]."""

    public_key: Annotated[Tensor, Kind.KEY]


@dataclass(frozen=True, kw_only=True)
class Roster(Payload):
    """Who takes part in a round: a row for each site that ever learns, in the order of the schedule.

    roster_keys: the public keys, uint8 [sites, 32]; zeros stand for a site that takes no part
    roster_downs: SHA-256 of what comes down to each for the round, uint8 [sites, 32]
    """

    roster_keys: Annotated[Tensor, Kind.KEY]
    roster_downs: Annotated[Tensor, Kind.KEY]


def blank_key() -> PublicKey:
    """Return a public key without values."""
    return PublicKey(public_key=torch.zeros(KEY_BYTES, dtype=torch.uint8, device="meta"))


def blank_roster(sites: int) -> Roster:
    """Return a roster of so many sites without values."""
    rows = torch.zeros(sites, KEY_BYTES, dtype=torch.uint8, device="meta")
    return Roster(roster_keys=rows, roster_downs=rows)


def roster_of(keys: Mapping[int, PublicKey], downs: Mapping[int, Mapping[str, bytes]], sites: int) -> Roster:
    """Return the roster of those who take part, by their place among all sites: their keys, and what comes down."""
    roster = Roster(
        roster_keys=torch.zeros(sites, KEY_BYTES, dtype=torch.uint8),
        roster_downs=torch.zeros(sites, KEY_BYTES, dtype=torch.uint8),
    )
    for place, key in keys.items():
        roster.roster_keys[place] = key.public_key
        roster.roster_downs[place] = _tensor(bytes.fromhex(digest_of_body(downs[place])))
    return roster


def private_key(secret: Secret, turn: Turn) -> X25519PrivateKey:
    """Return a site's private key of a turn: the same one where the turn is done again."""
    return X25519PrivateKey.from_private_bytes(secret.derived("agreement", turn.step, turn.round, turn.serial))


def public_key(private: X25519PrivateKey) -> PublicKey:
    """Return the public key that belongs to a private one."""
    return PublicKey(public_key=_tensor(private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)))


class Masks:
    """The masks of one site in one round, and how its upload is put under them.

    They belong to the whole roster: another key of anyone, another site, or anything else that comes down to one of
    them gives other masks, whose difference says nothing.
    """

    def __init__(
        self, private: X25519PrivateKey, roster: Roster, turn: Turn, *, own: int, down: str, weight: str | None
    ) -> None:
        """Agree with every other site of a roster.

        own: the site's place in it; down: SHA-256 of what came down to the site, as hexadecimal digits
        weight: the count of the upload by which it counts in a weighted mean, None where all sites count alike
        Raises `NoAgreement` where the site's place holds another key or digest, or another place no public key.
        """
        keys = {place: _bytes(row) for place, row in enumerate(roster.roster_keys) if row.any()}
        if keys.get(own) != _bytes(public_key(private).public_key):
            raise NoAgreement("the roster does not hold this site's own key")
        if _bytes(roster.roster_downs[own]).hex() != down:
            raise NoAgreement("the roster says that something else came down to this site")
        self.sites = len(keys)
        self.roster = hashlib.sha256(
            repr((turn.step, turn.round, turn.serial)).encode()
            + _bytes(roster.roster_keys)
            + _bytes(roster.roster_downs)
        ).hexdigest()
        self._weight = weight
        self._seeds = {place: self._agreed(private, keys[place], own, place) for place in keys if place != own}
        self._own = own

    def _agreed(self, private: X25519PrivateKey, other: bytes, own: int, place: int) -> bytes:
        try:
            shared = private.exchange(X25519PublicKey.from_public_bytes(other))
        except ValueError as error:
            raise NoAgreement(f"the key in place {place} of the roster is none") from error
        pair = repr(("wardround secure aggregation", self.roster, min(own, place), max(own, place))).encode()
        return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=pair).derive(shared)

    def hide(self, payload: Payload, manifest: Manifest) -> dict[str, bytes]:
        """Return the bytes of each leaf under the masks, by key. Raises `OutOfRange` where a value is too large."""
        words = encoded(payload, manifest, self._weight, self.sites)
        mask = self._mask(sum(part.size for part in words.values()))
        hidden, begun = {}, 0
        for key, part in words.items():
            hidden[key] = (part + mask[begun : begun + part.size]).astype("<u8").tobytes()
            begun += part.size
        return hidden

    def _mask(self, count: int) -> Words:
        total = np.zeros(count, np.uint64)
        for place, seed in self._seeds.items():
            stream = _stream(seed, count)
            total = total + stream if self._own < place else total - stream
        return total


def masked_manifest(manifest: Manifest) -> Manifest:
    """Return a manifest as it leaves under masks: the same names, kinds and shapes in whole numbers modulo 2^64."""
    return tuple(replace(leaf, dtype=MASKED) for leaf in manifest)


def encoded(payload: Payload, manifest: Manifest, weight: str | None, sites: int) -> dict[str, Words]:
    """Return each leaf as whole numbers modulo 2^64, flat: fixed-point values times the upload's weight.

    The weight itself stands as it is. Raises `OutOfRange` where the sum over `sites` such uploads might not fit.
    """
    tensors, most = leaves_of(payload), LARGEST // sites
    share = 1 if weight is None else int(tensors[weight])
    if not 1 <= share <= MOST_WEIGHT:
        raise OutOfRange("a weight that is none")
    words = {}
    for leaf in manifest:
        own = 1 if leaf.key == weight else share
        words[leaf.key] = _fixed(tensors[leaf.key], _scale(leaf.dtype), most // own) * np.uint64(own)
    return words


def mean_of(uploads: Sequence[P], blank: P, manifest: Manifest, weight: str | None) -> P:
    """Return the upload that stands for all masked ones: the weighted mean of each leaf, and the sum of the weights.

    `blank` and `manifest` are of the upload as it was before it was masked. The mean is off by at most 2^-33, before it
    is rounded to float32. Whole numbers are averaged and rounded.
    Raises `WireError` where the masks do not cancel, as far as the sum of the weights shows it.
    """
    leaves = [leaves_of(upload) for upload in uploads]
    sums = {
        leaf.key: reduce(np.add, (tensors[leaf.key].numpy().ravel() for tensors in leaves)).view(np.int64)
        for leaf in manifest
    }
    total = len(uploads) if weight is None else int(sums[weight].item())
    if not len(uploads) <= total <= MOST_WEIGHT * len(uploads):
        raise WireError("the masks of a round do not cancel: its sites did not agree on the same keys")
    packed = {}
    for leaf in manifest:
        mean = torch.from_numpy(sums[leaf.key] / (1.0 if leaf.key == weight else float(total * _scale(leaf.dtype))))
        fitting = (mean if leaf.dtype == "float32" else mean.round()).to(DTYPES[leaf.dtype])
        packed[leaf.key] = fitting.numpy().tobytes()
    return unpack(blank, manifest, packed)


def _scale(dtype: str) -> int:
    return 2**FRACTION_BITS if dtype == "float32" else 1


def _fixed(tensor: Tensor, scale: int, most: int) -> Words:
    """Return a tensor, flat, in multiples of 1 / scale, none of them beyond `most` (below 2^63)."""
    values = tensor.double() * scale
    # First roughly, as a double: what is beyond 2^63 has no int64 that could be compared.
    if bool((values.abs() >= 2.0**62).any()):
        raise OutOfRange("a value beyond every sum")
    whole = (values.round() if scale > 1 else tensor).to(torch.int64).flatten()
    if bool((whole.abs() > most).any()):
        raise OutOfRange("a value too large for the sum of a round")
    return whole.numpy().view(np.uint64)


def _stream(seed: bytes, count: int) -> Words:
    """Return `count` words of a key's stream (ChaCha20); a key is used once, so that its nonce may be zero."""
    cipher = Cipher(algorithms.ChaCha20(seed, bytes(16)), mode=None)
    return np.frombuffer(cipher.encryptor().update(bytes(8 * count)), dtype="<u8").astype(np.uint64)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.numpy().tobytes()


def _tensor(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)
