"""Learning without forgetting: on the newest site's images the segmenter must go on saying what it said before.

Li & Hoiem, "Learning without Forgetting", ECCV 2016. The old segmenter labels the current images softly,

    L(theta) = L_new(theta) + strength * L_distil(f_theta(x) / T, f_old(x) / T)

and L_distil is their divergence. The paper takes a softmax over classes; here each structure is a yes or no a pixel, so
it is Hinton's distillation with a sigmoid, as a Kullback-Leibler divergence: it has the gradient of the paper's
cross-entropy, and is zero where nothing changed. It is multiplied by T^2, so that T does not change its weight.
Both segmenters read an image with the batch's own norm statistics: with an earlier scanner's, the old one would often
find nothing in it, and teach that. Nothing but the segmenter leaves a site.
"""

from __future__ import annotations

import torch
from pydantic import Field

from sites.stream import Arrival
from sites.vault import Vault
from strategies import Strategy
from strategies.common.distillation import distillation
from strategies.common.normalization import Statistics
from strategies.common.segmenter import (
    build_segmenter,
    descend,
    descent_of,
    minibatches,
    segmentation_loss,
    slices_of,
)
from strategies.common.teacher import Broadcast, TeacherConfig, TeacherServer, Upload, blank_broadcast, blank_upload
from strategies.setting import Setting


class Config(TeacherConfig):
    """Settings of LwF.

    strength: lambda_o of the paper; temperature: its T; statistics: whose running statistics batch norm has
    Strength 0 with the newest site's statistics is fine-tuning.
    """

    strength: float = Field(default=1.0, ge=0)
    temperature: float = Field(default=2.0, gt=0)
    statistics: Statistics = "newest"


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the segmenter on the current cases, and on what the old one says of their images."""
    network, old = build_segmenter(setting), build_segmenter(setting)
    network.load_state_dict(dict(down.segmenter))
    old.load_state_dict(dict(down.old))
    learnt = bool(down.learnt)
    images, masks = slices_of(arrival.cases)
    iterations = setting.budget.iterations_a_round(len(images))
    descent = descent_of(network, setting, iterations)
    network.train()
    old.train()
    for some, their_masks in minibatches(setting, images, masks, iterations, arrival.seed):
        logits = network(some)
        loss = segmentation_loss(logits, their_masks)
        if learnt and config.strength:
            with torch.no_grad():
                said = old(some)
            loss = loss + config.strength * distillation(logits, said, config.temperature)
        descend(loss, descent)
    return Upload(segmenter=dict(network.state_dict()))


STRATEGY = Strategy(
    family="continual",
    config=Config,
    server=TeacherServer,
    learn=learn,
    blank_broadcast=blank_broadcast,
    blank_upload=blank_upload,
)
