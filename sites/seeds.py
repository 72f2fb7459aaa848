"""Randomness that depends on the run's seed and on what it is for, never on who came first."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_of(run: int, *purpose: str | int) -> int:
    """Return a 63-bit seed for a purpose, such as ("learn", site, step, round)."""
    digest = hashlib.sha256(repr((run, *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of Python, numpy and torch, pin torch to one thread, and put all back after.

    One thread, because the order of a parallel sum differs with their number, and the bits with it.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    threads = torch.get_num_threads()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.set_num_threads(1)
    try:
        with torch_seeded(seed):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_num_threads(threads)


@contextmanager
def torch_seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator, and put it back after.

    That of the CPU alone: `torch.manual_seed` also queues, with its stack trace and for good, a seeding of each kind of
    device that has not begun.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
