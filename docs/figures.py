"""Draws the pictures of docs/smdr.md: `python docs/figures.py RUN`, after `wardround replay RUN`."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import torch
from PIL import Image

from simulator.fidelity import Pictures
from simulator.replaying import grid
from sites.files import write_whole
from strategies.common.procedural.worlds import make_world

HERE = Path(__file__).parent / "figures"


def worlds() -> bytes:
    """Draw six of the worlds that the backbone was taught on, a line each."""
    made = {f"world {seed}": make_world(seed, 10, 48) for seed in range(6)}
    pictures = {
        name: Pictures(torch.from_numpy(world.images), torch.from_numpy(world.masks)) for name, world in made.items()
    }
    return grid(pictures, rows=1)


def as_webp(png: bytes) -> bytes:
    """Write a picture a tenth as large."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        picture.convert("RGB").save(buffer, format="webp", quality=85)
    return buffer.getvalue()


if __name__ == "__main__":
    write_whole(HERE / "worlds.webp", as_webp(worlds()))
    write_whole(HERE / "replays.webp", as_webp((Path(sys.argv[1]) / "replays" / "all.png").read_bytes()))
