"""How faithful replays are to the sites they stand for: measured on real images, so in a simulation alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from simulator.loop import Progress
from simulator.recognizing import PASSES, Panel, RealImages, folds_of, train_panel
from sites.copying import places
from sites.scoring import predict
from sites.seeds import seed_of
from strategies.common.segmenter import build_segmenter, train_segmenter
from strategies.setting import Setting

RESAMPLES = 2000
NEAR = 0.05
Distances = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Pictures:
    """Images float32 [N, C, H, W] in 0..1 with masks uint8 [N, S, H, W]."""

    images: Tensor
    masks: Tensor


@dataclass(frozen=True, kw_only=True)
class SitePictures:
    """What a site's replays are held against: the images it trained on, and others of it that it did not.

    patients: whose each held-out image is, for slices of one patient are not independent of each other
    painted: images float32 [N, C, H, W] in 0..1 that the site's generator made for the masks of the held-out ones,
        where it makes the mask first
    rescanned: what the other sites trained on, as this one's scanner sees it, float32 [N, C, H, W] in 0..1: site
        classifiers are taught these too, where a source has them, and so can't know a site by what lies before its
        scanner, which replays share where masks are shared
    """

    trained: Pictures
    held_out: Pictures
    replayed: Pictures
    patients: Sequence[str]
    painted: Tensor | None = None
    rescanned: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """How one site's replays compare with its held-out images.

    replays: how many were measured
    patients: how many held-out patients they were held against
    hits, real_hits: share of replays, and of held-out images, that site classifiers assign to the site (0..1); those of
        replays vote, and a held-out image is judged by one that doesn't know its patient
    painted_hits: the same, by vote, of images that the generator made for the masks of held-out pairs: where it is near
        `real_hits` and `hits` is not, it is the generated masks that are unlike real ones, not how images look (not a
        number where no image can be made for a mask)
    dice, real_dice: mean Dice of an independent segmenter's masks with the masks of the pairs (0..1)
    painted_dice: the same on images that the generator made for the masks of held-out pairs: where it is near
        `real_dice` and `dice` is not, it is the masks again
    diversity: mean distance between two replays over that between two held-out images (1: as diverse)
    nearest: median distance from a replay to its nearest training image (in its best place, a few pixels around), over
        the same of held-out images; far below 1 is a sign of copies
    nearest_low, nearest_high: its 95 % bootstrap interval; replays are drawn anew, and held-out patients
    nearer: share of replays that lie nearer to a training image than all but one in twenty held-out images do (about
        .05: distances are distributed alike at their low end); a few copies among many replays show here alone
    nearer_low, nearer_high: its 95 % bootstrap interval, drawn likewise, for few held-out patients say little about how
        near one in twenty of their images lies
    painted_nearer: the same share of images that the generator made for the masks of held-out pairs, whose anatomy no
        training image shows: where they lie as near as replays, it is more how images look (such as too little grain)
        than whose they are that brings both near
    """

    site: str
    replays: int
    patients: int
    hits: float
    real_hits: float
    painted_hits: float
    dice: float
    real_dice: float
    painted_dice: float
    diversity: float
    nearest: float
    nearest_low: float
    nearest_high: float
    nearer: float
    nearer_low: float
    nearer_high: float
    painted_nearer: float


@dataclass(frozen=True, kw_only=True)
class Judges:
    """A segmenter and classifiers of the sites, all trained on real images, and the seed of what is drawn."""

    segmenter: nn.Module
    panel: Panel
    seed: int

    def fidelity(self, name: str, row: int, site: SitePictures) -> Fidelity:
        """Judge the replays of the site that the classifiers know as number `row`."""
        replayed, held_out, trained = site.replayed, site.held_out, site.trained
        near, usual = _nearest(replayed.images, trained.images), _nearest(held_out.images, trained.images)
        nearest, nearer = (interval(of, near, usual, site.patients, self.seed) for of in (ratio, share_nearer))
        painted = painted_hits = painted_nearer = nan
        if site.painted is not None:
            painted_hits = self._hits(site.painted, row)
            painted = _agreement(self.segmenter, Pictures(site.painted, held_out.masks))
            painted_nearer = share_nearer(_nearest(site.painted, trained.images), usual)
        return Fidelity(
            site=name,
            replays=len(replayed.images),
            patients=len(set(site.patients)),
            hits=self._hits(replayed.images, row),
            real_hits=float(self.panel.held_out_hits(held_out.images, site.patients, row).float().mean()),
            painted_hits=painted_hits,
            dice=_agreement(self.segmenter, replayed),
            real_dice=_agreement(self.segmenter, held_out),
            painted_dice=painted,
            diversity=_spread(replayed.images) / _spread(held_out.images),
            nearest=ratio(near, usual),
            nearest_low=nearest[0],
            nearest_high=nearest[1],
            nearer=share_nearer(near, usual),
            nearer_low=nearer[0],
            nearer_high=nearer[1],
            painted_nearer=painted_nearer,
        )

    def _hits(self, images: Tensor, row: int) -> float:
        return float(self.panel.hits(images, row).float().mean())


def measure(sites: Mapping[str, SitePictures], setting: Setting, progress: Progress) -> list[Fidelity]:
    """Judge the replays of all sites."""
    judges, table = train_judges(list(sites.values()), setting, progress), []
    for row, (name, site) in enumerate(sites.items()):
        progress.doing(f"judging replays of {name}")
        table.append(judges.fidelity(name, row, site))
        progress.advance()
    return table


def train_judges(sites: Sequence[SitePictures], setting: Setting, progress: Progress) -> Judges:
    """Train a segmenter on the training pairs of all sites, which it sees PASSES times, and the site classifiers.

    Begins the progress of all that there is to do: the training, and a step for each site whose replays are judged.
    """
    real = [RealImages(shown=_shown(site), held_out=site.held_out.images, patients=site.patients) for site in sites]
    folds = folds_of(real)
    progress.begin(1 + len(set(folds.values())) + len(sites), 0)
    progress.doing("training the segmenter that judges")
    images = torch.cat([site.trained.images for site in sites])
    masks = torch.cat([site.trained.masks for site in sites])
    segmenter = build_segmenter(setting)
    iterations = max(1, PASSES * len(images) // setting.budget.batch)
    train_segmenter(segmenter, setting, images, masks, iterations=iterations, seed=seed_of(setting.seed, "judge"))
    progress.advance()
    panel = train_panel(real, folds, setting, progress)
    return Judges(segmenter=segmenter, panel=panel, seed=seed_of(setting.seed, "nearest"))


def _shown(site: SitePictures) -> Tensor:
    trained = site.trained.images
    return trained if site.rescanned is None else torch.cat([trained, site.rescanned])


def ratio(near: Distances, usual: Distances) -> float:
    """Return median `near` [N] over median `usual` [M]."""
    return float(np.median(near) / np.median(usual))


def share_nearer(near: Distances, usual: Distances) -> float:
    """Return which share of `near` [N] is smaller than all but one in twenty of `usual` [M]."""
    return float(np.mean(near < np.quantile(usual, NEAR)))


def interval(
    of: Callable[[Distances, Distances], float], near: Distances, usual: Distances, patients: Sequence[str], seed: int
) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of a measure of `near` [N] and `usual` [M], this by patient [M]."""
    draws = np.random.default_rng(seed)
    of_patient = [usual[np.array(patients) == patient] for patient in dict.fromkeys(patients)]
    values = []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([of_patient[row] for row in draws.integers(len(of_patient), size=len(of_patient))])
        values.append(of(draws.choice(near, len(near)), drawn))
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _agreement(judge: nn.Module, pictures: Pictures) -> float:
    """Return the mean Dice of a segmenter with the pairs' own masks; a structure that neither holds counts as 1."""
    found, given = predict(judge, pictures.images).bool(), pictures.masks.bool()
    both, total = (found & given).sum((2, 3)), found.sum((2, 3)) + given.sum((2, 3))
    return float(torch.where(total == 0, 1.0, 2 * both / total.clamp(min=1)).mean())


def _nearest(images: Tensor, others: Tensor) -> Distances:
    """Return the Euclidean distance [N] from each image to its nearest among others, moved to the best place."""
    there = others.flatten(1)
    near = [torch.cdist(moved.flatten(1), there).amin(1) for moved in places(images)]
    distances: Distances = torch.stack(near).amin(0).numpy()
    return distances


def _spread(images: Tensor) -> float:
    """Return the mean Euclidean distance between two different images."""
    return float(torch.pdist(images.flatten(1)).mean())
