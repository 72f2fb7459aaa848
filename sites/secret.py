"""What only a site knows: a key that never leaves its folder, and random numbers that nobody else can compute."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from sites.files import write_whole

KEY_BYTES = 32


class Draws:
    """An endless stream of random numbers from a key: SHAKE-256 (FIPS 202) over the key and a counter.

    Who does not have the key can't tell the numbers from chance, nor find those before from those after.
    torch's own generator would not do: it begins from 32 bits, which can be tried one by one.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._count = 0

    def uniform(self, count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Return `count` numbers between 0 and 1, neither of them included."""
        stream = hashlib.shake_256(self._key + self._count.to_bytes(8, "big")).digest(8 * count)
        self._count += 1
        # 53 bits are as many as a double can tell apart.
        return (np.frombuffer(stream, dtype=">u8") >> 11).astype(np.float64) * 2.0**-53 + 2.0**-54

    def normal(self, shape: torch.Size | tuple[int, ...]) -> Tensor:
        """Return float64 numbers of a shape from the standard normal distribution, by its inverse."""
        numbers: np.ndarray[tuple[int], np.dtype[np.float64]] = ndtri(self.uniform(int(np.prod(shape, dtype=np.int64))))
        return torch.from_numpy(numbers).reshape(shape)


class Secret:
    """A site's key. Whatever is drawn for one purpose says nothing about another."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def derived(self, *purpose: str | int) -> bytes:
        """Return a key of 32 bytes for a purpose (HMAC-SHA-256)."""
        return hmac.digest(self._key, repr(purpose).encode(), "sha256")

    def draws(self, *purpose: str | int) -> Draws:
        """Return the random numbers of a purpose, the same ones each time."""
        return Draws(self.derived(*purpose))


def kept_secret(path: Path, simulated: str | None, *simulation: str | int) -> Secret:
    """Return the secret that a file keeps. Where there is none yet it is drawn from the operating system.

    For a simulation that must give the same bits again it is made from `simulated`, which must then be as secret as
    what it stands for, and from what tells this site and run from others.
    """
    if not path.exists():
        made = Secret(simulated.encode()).derived(*simulation) if simulated else secrets.token_bytes(KEY_BYTES)
        write_whole(path, made.hex(), private=True)
    return Secret(bytes.fromhex(path.read_text()))
