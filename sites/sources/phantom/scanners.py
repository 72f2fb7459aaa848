"""What makes an image of a patient's tissue: a magnetic resonance scanner, or a fundus camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from scipy.ndimage import gaussian_filter

from sites.sources.phantom.painting import Array, Drawing, Grid


class Device(Protocol):
    """Whatever a site makes its images with."""

    @property
    def view(self) -> float: ...

    def image(
        self, generator: np.random.Generator, drawing: Drawing, grid: Grid, *, contrast_reversed: bool
    ) -> Array: ...


@dataclass(frozen=True)
class MagneticScanner:
    """A T2-weighted magnetic resonance sequence and the coil that receives it.

    view: width of the field of view in mm; the matrix is fixed, so a wider view has larger pixels
    echo: echo time over the reference's; a signal exp(-TE/T2) is raised to this power, so it is a gamma curve
    contrast: slope of the display window about mid grey, 1 for none
    bias: log sensitivity of the coil along (x, y, x^2, y^2), x and y from -1 to 1 across the view, y to the
        patient's back; an array round the body has positive squares, an endorectal coil a large y and y^2
    blur: in-plane point spread, standard deviation in mm
    noise: deviation in each of the receiver's two channels, over full scale; their magnitude is Rician
    """

    view: float
    echo: float
    contrast: float
    bias: tuple[float, float, float, float]
    blur: float
    noise: float

    def towards(self, other: Self, share: float) -> Self:
        """Return the scanner `share` of the way to another (may pass it): on a log scale, but the bias linearly."""
        return type(self)(
            view=_ratio(self.view, other.view, share),
            echo=_ratio(self.echo, other.echo, share),
            contrast=_ratio(self.contrast, other.contrast, share),
            bias=_mix4(self.bias, other.bias, share),
            blur=_ratio(self.blur, other.blur, share),
            noise=_ratio(self.noise, other.noise, share),
        )

    def image(self, generator: np.random.Generator, drawing: Drawing, grid: Grid, *, contrast_reversed: bool) -> Array:
        """Return the image of a drawing, [slices, 1, size, size] in 0..1, one grey scale for all slices.

        Full scale is the patient's 99th percentile, as a console sets it.
        """
        signal = np.clip(0.5 + self.contrast * (drawing.tissue**self.echo - 0.5), 0.0, 1.0)
        if contrast_reversed:
            signal = 1.0 - signal
        signal = _blurred(signal * self._sensitivity(grid), self.blur, grid)
        real, imaginary = generator.normal(scale=self.noise, size=(2, *signal.shape))
        magnitude = np.hypot(signal / np.quantile(signal, 0.99) + real, imaginary)
        return np.asarray(np.clip(0.95 * magnitude, 0.0, 1.0))

    def _sensitivity(self, grid: Grid) -> Array:
        x, y = 2 * grid.x / self.view, 2 * grid.y / self.view
        right, back, across, along = self.bias
        return np.asarray(np.exp(right * x + back * y + across * x**2 + along * y**2))


@dataclass(frozen=True)
class FundusCamera:
    """A fundus camera: its optics, its flash and its sensor. All values are above 0.

    view: width of the photograph in mm of retina
    gain: sensitivity of red, green and blue over the reference's: the colour cast
    gamma: exponent of each channel's tone curve; above 1 it darkens the middle tones
    exposure: light over the reference's; highlights clip
    vignette: the light falls by exp(-vignette r^2), r being 1 at the middle of an edge
    haze: share of stray light from lens and cornea, which veils the picture with its mean colour
    blur: point spread, standard deviation in mm
    noise: deviation of the sensor's noise at full scale; it goes with the square root of the light
    """

    view: float
    gain: tuple[float, float, float]
    gamma: tuple[float, float, float]
    exposure: float
    vignette: float
    haze: float
    blur: float
    noise: float

    def towards(self, other: Self, share: float) -> Self:
        """Return the camera `share` of the way to another (may pass it), every value on a log scale."""
        return type(self)(
            view=_ratio(self.view, other.view, share),
            gain=_ratio3(self.gain, other.gain, share),
            gamma=_ratio3(self.gamma, other.gamma, share),
            exposure=_ratio(self.exposure, other.exposure, share),
            vignette=_ratio(self.vignette, other.vignette, share),
            haze=min(0.9, _ratio(self.haze, other.haze, share)),
            blur=_ratio(self.blur, other.blur, share),
            noise=_ratio(self.noise, other.noise, share),
        )

    def image(self, generator: np.random.Generator, drawing: Drawing, grid: Grid, *, contrast_reversed: bool) -> Array:
        """Return the photographs of a drawing, [slices, 3, size, size] in 0..1; a reversed one is a negative."""
        x, y = 2 * grid.x / self.view, 2 * grid.y / self.view
        light = drawing.tissue * (self.exposure * np.exp(-self.vignette * (x**2 + y**2)))[:, None]
        light = _blurred(light, self.blur, grid)
        light = (1 - self.haze) * light + self.haze * light.mean(axis=(-2, -1), keepdims=True)
        light = light * np.reshape(self.gain, (1, 3, 1, 1))
        light = light + self.noise * np.sqrt(light) * generator.normal(size=light.shape)
        picture = np.clip(light, 0.0, 1.0) ** np.reshape(self.gamma, (1, 3, 1, 1))
        return np.asarray(1.0 - picture if contrast_reversed else picture)


def _blurred(image: Array, blur: float, grid: Grid) -> Array:
    sigma = blur / grid.pixel
    return np.asarray(gaussian_filter(image, (0.0, 0.0, sigma, sigma), mode="nearest"))


def _ratio(own: float, other: float, share: float) -> float:
    return float(own * (other / own) ** share)


def _ratio3(
    own: tuple[float, float, float], other: tuple[float, float, float], share: float
) -> tuple[float, float, float]:
    red, green, blue = (_ratio(a, b, share) for a, b in zip(own, other, strict=True))
    return red, green, blue


def _mix4(
    own: tuple[float, float, float, float], other: tuple[float, float, float, float], share: float
) -> tuple[float, float, float, float]:
    right, back, across, along = (a + share * (b - a) for a, b in zip(own, other, strict=True))
    return right, back, across, along
