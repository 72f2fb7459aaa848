"""RandConv: show the network its slices through random convolutions, which keep shapes and change textures.

Xu et al., "Robust and Generalizable Visual Representation Learning via Random Convolutions", ICLR 2021, the mixing
variant: x <- a x + (1 - a) conv(x), a ~ U(0, 1), with a fresh kernel for each batch, of a random size, its entries
drawn from N(0, 1 / (k^2 channels)); a share of the batches stays as it is. Their consistency loss, which would need
three passes a step, is left out. It needs one site alone. The segmenter goes from site to site; with `share: 0` this is
fine-tuning.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import conv2d

from sites.stream import Arrival
from sites.vault import Vault
from strategies import Strategy, StrategyConfig
from strategies.common.relay import Broadcast, RelayServer, Upload, blank_broadcast, blank_upload
from strategies.common.segmenter import (
    build_segmenter,
    descend,
    descent_of,
    minibatches,
    segmentation_loss,
    slices_of,
)
from strategies.setting import Setting


class Config(StrategyConfig):
    """Settings of random convolutions.

    share: of the batches that are convolved; sizes: of the kernels, odd; mix: whether the slice itself is mixed in
    """

    share: float = Field(default=0.5, ge=0, le=1)
    sizes: tuple[int, ...] = Field(default=(1, 3, 5, 7), min_length=1)
    mix: bool = True


def convolved(images: Tensor, config: Config, generator: torch.Generator) -> Tensor:
    """Return slices [N, C, H, W] seen through one random convolution, or, by chance, as they are."""
    channels = images.shape[1]
    if float(torch.rand((), generator=generator)) >= config.share:
        return images
    size = config.sizes[int(torch.randint(len(config.sizes), (1,), generator=generator))]
    kernel = torch.randn(channels, channels, size, size, generator=generator) / (size * channels**0.5)
    seen = conv2d(images, kernel, padding=size // 2)
    return torch.lerp(seen, images, torch.rand((), generator=generator)) if config.mix else seen


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train the segmenter on the site's current slices, many of them seen through random convolutions."""
    network = build_segmenter(setting)
    network.load_state_dict(dict(down.segmenter))
    images, masks = slices_of(arrival.cases)
    iterations = setting.budget.iterations_a_round(len(images))
    descent, generator = descent_of(network, setting, iterations), torch.Generator().manual_seed(arrival.seed)
    network.train()
    for some, their_masks in minibatches(setting, images, masks, iterations, arrival.seed):
        descend(segmentation_loss(network(convolved(some, config, generator)), their_masks), descent)
    return Upload(segmenter=dict(network.state_dict()))


STRATEGY = Strategy(
    family="generalization",
    config=Config,
    server=RelayServer,
    learn=learn,
    blank_broadcast=blank_broadcast,
    blank_upload=blank_upload,
)
