"""Membership inference: was a patient trained on, judged by how well a network does on that patient's images.

On a generator: the denoising loss, and the t-error of SecMI (Duan et al., "Are diffusion models vulnerable to
membership inference attacks?", ICML 2023). On a segmenter: its loss (Yeom et al., CSF 2018). The attacker is taken to
hold the patient's image and mask, and the released weights.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from simulator.exposure.statistics import Suspects, by_patient
from sites.stream import Case
from strategies.common.denoising import noise_scheduler
from strategies.common.diffusion import Generator
from strategies.common.segmenter import segmentation_loss, slices_of

Score = Callable[[Tensor, Tensor], Tensor]

TIMES = (25, 50, 100, 200, 300, 400)
DRAWS = 3
# The paper's 100 of 1000 is for a linear noise schedule. On the cosine one, with over-trained generators of ours (of 4
# patients, 300 steps; of 8, 600), the AUC was 0.0 and 0.0 at 100, 0.1 and 0.8 at 500, 0.9 and 1.0 at 800, 1.0 at 900.
SECMI_TIME, SECMI_INTERVAL = 900, 10
BATCH = 128


def suspect(score: Score, patients: tuple[Case, ...], others: tuple[Case, ...]) -> Suspects:
    """Score every patient by an attack on images [N, C, H, W] and masks [N, S, H, W]; higher: rather trained on."""
    return Suspects(patients=_of_each(score, patients), others=_of_each(score, others))


def segmenter_loss(network: nn.Module) -> Score:
    """Return the attack on a segmenter: its loss on an image, turned round."""

    @torch.no_grad()
    def score(images: Tensor, masks: Tensor) -> Tensor:
        network.eval()
        logits, wanted = network(images), masks.float()
        return -torch.stack([segmentation_loss(logits[[row]], wanted[[row]]) for row in range(len(images))])

    return score


def denoising_loss(generator: Generator, seed: int) -> Score:
    """Return the attack by the error of the noise that a generator finds in a noisy image, turned round.

    Averaged over noise levels up to 400 of 1000, and over noise that is the same for every image.
    """

    @torch.no_grad()
    def score(images: Tensor, masks: Tensor) -> Tensor:
        denoiser = _Denoiser(generator, images, masks)
        draws = torch.Generator().manual_seed(seed)
        total = torch.zeros(len(images))
        for time in TIMES:
            for _ in range(DRAWS):
                noise = torch.randn(denoiser.clean.shape[1:], generator=draws).expand_as(denoiser.clean)
                _, found = denoiser.split(denoiser.at(denoiser.clean, noise, time), time)
                total += (found - noise).square().mean((1, 2, 3))
        return -total / (len(TIMES) * DRAWS)

    return score


def secmi(generator: Generator) -> Score:
    """Return the attack by SecMI's t-error, turned round.

    An image is carried to noise level 900 of 1000 by deterministic DDIM steps of 10; the t-error is what one more
    step up and back again changes.
    """

    @torch.no_grad()
    def score(images: Tensor, masks: Tensor) -> Tensor:
        denoiser = _Denoiser(generator, images, masks)
        state = denoiser.clean
        for time in range(0, SECMI_TIME, SECMI_INTERVAL):
            state = denoiser.move(state, time, time + SECMI_INTERVAL)
        up = denoiser.move(state, SECMI_TIME, SECMI_TIME + SECMI_INTERVAL)
        back = denoiser.move(up, SECMI_TIME + SECMI_INTERVAL, SECMI_TIME)
        return -(back - state).square().mean((1, 2, 3))

    return score


class _Denoiser:
    """A generator applied to given pairs: to both halves, or, where it makes the mask first, to the image alone.

    The image tells patients apart; the second stage has the clean mask before it.
    """

    def __init__(self, generator: Generator, images: Tensor, masks: Tensor) -> None:
        self._generator = generator.eval()
        pairs = generator.fold(images, masks)
        self._together = generator.config.order == "joint"
        split = pairs.shape[1] if self._together else generator.image_channels
        self.clean, self._mask = pairs[:, :split], pairs[:, split:]
        self._kept = noise_scheduler().alphas_cumprod

    def at(self, clean: Tensor, noise: Tensor, time: int) -> Tensor:
        """Return what a clean picture with this noise is at a time in 0..999."""
        kept = self._kept[time]
        mixed: Tensor = kept.sqrt() * clean + (1 - kept).sqrt() * noise
        return mixed

    def split(self, state: Tensor, time: int) -> tuple[Tensor, Tensor]:
        """Return the clean picture and the noise that the generator finds in a state, from its velocity."""
        kept, times = self._kept[time], torch.full((len(state),), time)
        mask_times = times if self._together else torch.zeros_like(times)
        velocity = self._generator(torch.cat([state, self._mask], 1), times, mask_times)[:, : state.shape[1]]
        clean = kept.sqrt() * state - (1 - kept).sqrt() * velocity
        return clean, kept.sqrt() * velocity + (1 - kept).sqrt() * state

    def move(self, state: Tensor, time: int, to: int) -> Tensor:
        """Take one deterministic DDIM step (Song et al., ICLR 2021) from a time to another."""
        return self.at(*self.split(state, time), to)


def _of_each(score: Score, cases: tuple[Case, ...]) -> Tensor:
    images, masks = slices_of(cases)
    parts = zip(torch.split(images, BATCH), torch.split(masks, BATCH), strict=True)
    scores = torch.cat([score(some, their_masks) for some, their_masks in parts])
    return by_patient(scores, [case.patient for case in cases for _ in case.images])
