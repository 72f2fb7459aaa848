"""Which site an image is from, as classifiers tell that were trained on real images: in a simulation alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from monai.networks.nets import ResNet
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from simulator.loop import Progress
from sites.seeds import seed_of, seeded
from strategies.common.segmenter import batches, descend, descent_of
from strategies.setting import Setting

PASSES = 60
ENOUGH = 500
FOLDS = 4


@dataclass(frozen=True, kw_only=True)
class RealImages:
    """A site's images float32 [N, C, H, W] in 0..1: some that are shown to all classifiers, and those held out.

    shown: those it trained on, and, where the source can show them, what other sites trained on as its scanner sees it
    patients: whose each held-out image is
    """

    shown: Tensor
    held_out: Tensor
    patients: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Site classifiers that vote; number `k` never saw the patients of fold `k` (cross-fitting).

    So all real images but a few teach each of them, where sites have few, and yet each held-out image is judged by one
    that doesn't know its patient.
    """

    classifiers: Sequence[nn.Module]
    folds: dict[str, int]

    @torch.no_grad()
    def hits(self, images: Tensor, row: int) -> Tensor:
        """Return which images [N, C, H, W], that none of them saw, they assign to the site of a row: bool [N]."""
        votes = torch.stack([classifier(images).softmax(1) for classifier in self.classifiers])
        found: Tensor = votes.mean(0).argmax(1) == row
        return found

    def held_out_hits(self, images: Tensor, patients: Sequence[str], row: int) -> Tensor:
        """Return which held-out images [N, C, H, W] of these patients are assigned to the site of a row: bool [N]."""
        return torch.stack(
            [
                hits(self.classifiers[self.folds[patient]], image[None], row)[0]
                for image, patient in zip(images, patients, strict=True)
            ]
        )


def folds_of(sites: Sequence[RealImages]) -> dict[str, int]:
    """Return the fold of each held-out patient: one of FOLDS, or of as many as there are patients.

    A patient who was held out at several sites is in one fold.
    """
    everyone = dict.fromkeys(patient for site in sites for patient in site.patients)
    return {patient: number % FOLDS for number, patient in enumerate(everyone)}


def train_panel(sites: Sequence[RealImages], folds: dict[str, int], setting: Setting, progress: Progress) -> Panel:
    """Train a classifier for each fold of the held-out patients, on all images but theirs.

    Each sees its images PASSES times, but no more than ENOUGH batches.
    """
    classifiers, numbers = [], sorted(set(folds.values()))
    for number in numbers:
        progress.doing(f"training site classifier {number + 1} of {len(numbers)}")
        classifiers.append(_without(sites, setting, folds, number))
        progress.advance()
    return Panel(classifiers=classifiers, folds=folds)


def _without(sites: Sequence[RealImages], setting: Setting, folds: dict[str, int], fold: int) -> nn.Module:
    shown = [
        torch.cat([site.shown, site.held_out[[folds[patient] != fold for patient in site.patients]]]) for site in sites
    ]
    return site_classifier(setting, shown, most=ENOUGH)


def site_classifier(setting: Setting, sites: Sequence[Tensor], most: int | None = None) -> nn.Module:
    """Train a small residual network of MONAI's to tell which of the sites an image is from, by theirs [N, C, H, W].

    It averages over an image, so it learns how a site's images look and can't learn by heart where things lie in them.
    It sees them PASSES times, or in `most` batches where those are fewer.
    """
    images = torch.cat(list(sites))
    labels = torch.cat([torch.full((len(of_site),), row) for row, of_site in enumerate(sites)])
    iterations = max(1, PASSES * len(images) // setting.budget.batch)
    if most is not None:
        iterations = min(iterations, most)
    seed = seed_of(setting.seed, "site classifier")
    with seeded(seed):
        network: nn.Module = ResNet(
            block="basic",
            layers=[1, 1, 1, 1],
            block_inplanes=[16, 32, 64, 64],
            spatial_dims=2,
            n_input_channels=setting.shape.channels,
            conv1_t_size=3,
            conv1_t_stride=1,
            no_max_pool=True,
            num_classes=len(sites),
        )
    descent = descent_of(network, setting, iterations)
    network.train()
    for rows in batches(len(images), setting.budget.batch, iterations, seed):
        descend(cross_entropy(network(images[rows]), labels[rows]), descent)
    return network.eval()


@torch.no_grad()
def hits(classifier: nn.Module, images: Tensor, row: int) -> Tensor:
    """Return which images [N, C, H, W] the classifier assigns to the site of a row: bool [N]."""
    found: Tensor = classifier(images).argmax(1) == row
    return found
