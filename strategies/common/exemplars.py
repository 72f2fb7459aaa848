"""Exemplars: real slices of earlier sites, pooled at the server and sent down to the sites that come after.

Images and labels leave their site for it, so only a policy that admits both (`reference-only`) lets such a method run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from sites.stream import Shape
from strategies import State
from strategies.common.segmenter import minibatches
from strategies.setting import Setting


def blank_rows(shape: Shape, rows: int, device: str = "meta") -> dict[str, Tensor]:
    """Return blank `images` float32 [rows, C, H, W] and `masks` uint8 [rows, S, H, W]."""
    size = (shape.height, shape.width)
    return {
        "images": torch.zeros(rows, shape.channels, *size, device=device),
        "masks": torch.zeros(rows, len(shape.structures), *size, dtype=torch.uint8, device=device),
    }


def padded(tensor: Tensor, rows: int) -> Tensor:
    """Return a tensor with blank rows added, up to `rows`."""
    blank = tensor.new_zeros(rows - len(tensor), *tensor.shape[1:])
    return torch.cat([tensor, blank])


def reservoir_share(seen: int, new: int, size: int) -> int:
    """Return how many of `new` slices a reservoir of `size` takes in after `seen` others went by.

    Drawn as if all had passed one by one (Vitter, ACM TOMS 1985): each ever seen is kept with the same probability.
    """
    return int((torch.randperm(seen + new)[:size] >= seen).sum())


def balanced_counts(held: Sequence[int], row: int, new: int, size: int) -> list[int]:
    """Return how many slices of each site a buffer of `size` has after `new` of the site at `row` were offered.

    While there is room a slice is taken; then only where its site has fewer than the fullest one, which gives up one
    (the greedy sampler of Prabhu et al., ECCV 2020, with sites in place of classes).
    """
    counts = list(held)
    for _ in range(new):
        if sum(counts) >= size:
            fullest = counts.index(max(counts))
            if counts[row] >= counts[fullest]:
                break
            counts[fullest] -= 1
        counts[row] += 1
    return counts


class Buffer:
    """A bounded set of slices in the order of their sites; `blank` names and shapes the tensors kept of a slice."""

    def __init__(self, blank: Mapping[str, Tensor], sites: tuple[str, ...]) -> None:
        self._size = len(next(iter(blank.values())))
        self._sites = sites
        self._rows = {name: value[:0] for name, value in blank.items()}
        self._site = torch.empty(0, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self._site)

    def counts(self) -> Tensor:
        """Return how many slices are held of each site: int64 [sites]."""
        return torch.bincount(self._site, minlength=len(self._sites))

    def add(self, site: str, rows: Mapping[str, Tensor]) -> None:
        """Add slices of a site; there must be room for them."""
        count = len(next(iter(rows.values())))
        assert len(self) + count <= self._size
        place = torch.cat([self._site, torch.full((count,), self._sites.index(site))])
        order = place.argsort(stable=True)
        self._rows = {name: torch.cat([held, rows[name]])[order] for name, held in self._rows.items()}
        self._site = place[order]

    def thin(self, keep: int) -> None:
        """Drop slices at random until at most `keep` are left."""
        self._choose(torch.randperm(len(self))[:keep])

    def thin_sites(self, keep: Sequence[int]) -> None:
        """Drop slices at random until each site has at most as many as `keep` says, in the order of the sites."""
        own = [(self._site == row).nonzero().flatten() for row in range(len(self._sites))]
        self._choose(torch.cat([rows[torch.randperm(len(rows))[:most]] for rows, most in zip(own, keep, strict=True)]))

    def rows(self) -> dict[str, Tensor]:
        """Return the tensors of the slices held."""
        return dict(self._rows)

    def padded(self) -> dict[str, Tensor]:
        """Return the same with blank rows up to the buffer's size, as a broadcast carries them."""
        return {name: padded(value, self._size) for name, value in self._rows.items()}

    def state_dict(self) -> State:
        """Return all that is held, for a run that resumes."""
        return {**{f"buffer/{name}": value for name, value in self._rows.items()}, "buffer-site": self._site}

    def load_state_dict(self, state: State) -> None:
        """Take back what `state_dict` returned, out of a state that may hold more."""
        self._rows = {name: state[f"buffer/{name}"] for name in self._rows}
        self._site = state["buffer-site"]

    def _choose(self, rows: Tensor) -> None:
        rows = rows.sort().values
        self._rows = {name: value[rows] for name, value in self._rows.items()}
        self._site = self._site[rows]


def rehearsals(
    setting: Setting, images: Tensor, masks: Tensor, iterations: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield `iterations` augmented batches of exemplars; empty ones where there are none."""
    if len(images):
        yield from minibatches(setting, images, masks, iterations, seed)
    else:
        for _ in range(iterations):
            yield images, masks.float()
