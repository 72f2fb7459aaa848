"""Phase retrieval: images from the amplitudes of their spectra.

Fienup's hybrid input-output, "Phase retrieval algorithms: a comparison", Applied Optics 21 (1982), with steps of error
reduction in between. The attacker knows that grey values lie in 0..1 and where the picture ends. A spectrum sampled
twice as finely as the image has pixels nearly always has one image to it (Hayes, IEEE ASSP 30, 1982).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

STEPS = 400
FEEDBACK = 0.9
CYCLE, HYBRID = 50, 40


def whole_spectrum(images: Tensor) -> Tensor:
    """Return all amplitudes of images [N, C, H, W], sampled twice as finely: [N, C, 2H, 2W], frequency zero first."""
    found: Tensor = torch.fft.fft2(_padded(images)).abs()
    return found


def from_whole_spectrum(amplitudes: Tensor, start: Tensor) -> Tensor:
    """Return images [N, C, H, W] in 0..1 from what `whole_spectrum` gave, sought from `start` [C, H, W].

    They may come out turned by half a circle, which amplitudes don't show.
    """
    height, width = start.shape[-2:]
    inside = _padded(torch.ones_like(start)).bool()
    state = _padded(start).expand_as(amplitudes)
    for step in range(STEPS):
        made = _with_phase_of(state, amplitudes)
        fits = inside & (made >= 0) & (made <= 1)
        hybrid = step % CYCLE < HYBRID
        state = torch.where(fits, made, state - FEEDBACK * made) if hybrid else made.clamp(0, 1) * inside
    return state[..., :height, :width].clamp(0, 1)


def from_low_amplitudes(amplitudes: Tensor, place: tuple[slice, slice], start: Tensor) -> Tensor:
    """Return images [N, C, H, W] in 0..1 from amplitudes [N, C, h, w] at a place of the spectrum, zero in the middle.

    The other amplitudes, and every phase to begin with, are those of `start` [C, H, W].
    """
    state = start.expand(len(amplitudes), *start.shape)
    for _ in range(CYCLE):
        spectrum = torch.fft.fftshift(torch.fft.fft2(state), dim=(-2, -1))
        size, phase = spectrum.abs(), spectrum.angle()
        size[..., *place] = amplitudes
        state = torch.fft.ifft2(torch.fft.ifftshift(torch.polar(size, phase), dim=(-2, -1))).real.clamp(0, 1)
    return state


def _with_phase_of(images: Tensor, amplitudes: Tensor) -> Tensor:
    found: Tensor = torch.fft.ifft2(torch.polar(amplitudes, torch.fft.fft2(images).angle())).real
    return found


def _padded(images: Tensor) -> Tensor:
    """Return images with as many empty rows and columns again."""
    return pad(images, (0, images.shape[-1], 0, images.shape[-2]))
