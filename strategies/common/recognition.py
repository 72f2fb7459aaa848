"""Keeps the replays that show whose they are: of each site's, those that a classifier takes for its own most surely.

After discriminator rejection sampling (Azadi et al., ICLR 2019, arXiv 1810.06758), which keeps the samples that a
discriminator takes for real ones. Ours: a server holds nothing real, so the classifier learns to tell the sites'
replays from one another. Where a generator is unsure of its site's look, its replays are near to others', and where
they are, image and mask agree less, too. No replay is judged by a classifier that was taught it (cross-fitting).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from monai.networks.blocks.convolutions import Convolution
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sites.seeds import torch_seeded
from strategies.common.alignment import Domain
from strategies.common.segmenter import batches

FOLDS = 2
BATCHES, BATCH = 100, 32
LEARNING_RATE = 5e-3
WIDTHS = (16, 32, 32)


def most_recognised(replays: Mapping[str, Domain], count: int, seed: int) -> dict[str, Domain]:
    """Return the `count` replays of each site that are most surely its own, in the order in which they were made.

    Of a site that is alone, the first.
    """
    if len(replays) == 1:
        chosen = [torch.arange(count)]
    else:
        chosen = [sure.topk(count).indices.sort().values for sure in _own(list(replays.values()), seed)]
    return {
        site: Domain(domain.images[rows], domain.masks[rows])
        for (site, domain), rows in zip(replays.items(), chosen, strict=True)
    }


def _own(domains: list[Domain], seed: int) -> list[Tensor]:
    """Return the log-probability, for each replay of each site, that it is the site's."""
    images = torch.cat([domain.images for domain in domains])
    sizes = [len(domain.images) for domain in domains]
    labels = torch.arange(len(domains)).repeat_interleave(torch.tensor(sizes))
    draws = torch.Generator().manual_seed(seed)
    folds = torch.cat([torch.randperm(size, generator=draws) % FOLDS for size in sizes])
    sure = torch.zeros(len(images))
    for fold in range(FOLDS):
        judged = folds == fold
        classifier = _train(images[~judged], labels[~judged], len(domains), seed + fold)
        with torch.no_grad():
            answers = classifier(images[judged]).log_softmax(1)
        sure[judged] = answers.gather(1, labels[judged, None])[:, 0]
    return list(torch.split(sure, sizes))


def _train(images: Tensor, labels: Tensor, sites: int, seed: int) -> nn.Module:
    """Teach a small classifier that averages over an image, so that it goes by looks and not by where things lie."""
    with torch_seeded(seed):
        classifier = _build(images.shape[1], sites)
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=LEARNING_RATE, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, BATCHES)
    classifier.train()
    for rows in batches(len(images), BATCH, BATCHES, seed):
        optimizer.zero_grad()
        torch.autograd.backward(cross_entropy(classifier(images[rows]), labels[rows]))
        optimizer.step()
        schedule.step()
    return classifier.eval()


def _build(channels: int, sites: int) -> nn.Module:
    layers = [
        Convolution(2, before, width, strides=2, act="RELU", norm="BATCH", adn_ordering="NA")
        for before, width in zip((channels, *WIDTHS), WIDTHS, strict=False)
    ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], sites))
