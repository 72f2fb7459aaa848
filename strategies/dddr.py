"""DDDR: a frozen diffusion model is shared by all, and a site releases the embedding under which it makes its pairs.

Liang et al., "Diffusion-Driven Data Replay: A Novel Approach to Combat Forgetting in Federated Class Continual
Learning", ECCV 2024, arXiv 2409.01128, after its abstract and the authors' code (jinglin-liang/DDDR). Each site inverts
its data: the generator stays as it is, and its token alone is sought (as in textual inversion, Gal et al., ICLR 2023).
Every later site makes replays x' of the earlier ones, with their labels y', and trains the segmenter on

    L(theta) = L(x, y) + labels * L(x', y') + distillation * L_distil(f_theta(x'), f_old(x'))

with f_old the segmenter as the last step left it, and the distillation of LwF.

Ours: a site stands in the place of a class. The generator makes image and mask together; it is the backbone that ships
with the project, learnt on pictures of no site, where the paper has a text-to-image model. Sites learn one after
another, so there are no embeddings of one class to average. The paper's contrastive term, which draws real and made
images of a class together, needs a classifier's features, and is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from sites.seeds import seed_of
from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Kind, Payload, Weights
from strategies import Server, State, Strategy, StrategyConfig
from strategies.common.alignment import Batch, Domain
from strategies.common.denoising import sample
from strategies.common.diffusion import DiffusionConfig, Generator, build_generator
from strategies.common.rehearsal import by_its_masks, train_rehearsing
from strategies.common.retention import fit, put, take
from strategies.common.segmenter import blank_segmenter, build_segmenter, slices_of
from strategies.common.teacher import distillation
from strategies.common.turns import Turns
from strategies.setting import Setting
