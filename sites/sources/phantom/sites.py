"""The scanner of each site, at shift 1: the tables to read, or to change, when a benchmark needs other sites.

A is close to the reference. A to D is the usual order of arrival; E and F are the usual unseen sites, and each has
something that A to D do not span; A to J is a sequence of ten. K and L are mild, for a second unseen pair.
The rows of A to F are calibrated (see tests/sites/sources/test_phantom_calibration.py): change them with that test.
"""

from __future__ import annotations

from typing import Final

from sites.sources.phantom.scanners import FundusCamera, MagneticScanner

REFERENCE_SCANNER: Final = MagneticScanner(90, 1.0, 1.0, (0.0, 0.0, 0.0, 0.0), 0.7, 0.02)

SCANNERS: Final[dict[str, MagneticScanner]] = {
    # view mm, echo, contrast, bias (x, y, x^2, y^2), blur mm, noise
    "A": MagneticScanner(92, 1.05, 1.0, (0.05, 0.05, -0.1, -0.1), 0.7, 0.02),  # surface array at 3 T
    "B": MagneticScanner(108, 2.4, 1.2, (0.6, -0.6, -0.5, -0.3), 1.0, 0.03),  # long echo, wide view
    "C": MagneticScanner(73, 1.4, 1.0, (-0.3, 1.4, 0.1, 0.6), 0.8, 0.04),  # endorectal coil, close view
    "D": MagneticScanner(100, 0.3, 0.85, (-1.6, -1.3, 0.6, 0.4), 1.0, 0.03),  # short echo, coil to one side
    "E": MagneticScanner(78, 2.4, 1.2, (1.1, 1.0, 0.4, -0.4), 0.7, 0.06),  # unseen: heavy T2, coil to one side
    "F": MagneticScanner(120, 0.45, 0.85, (-1.0, 0.4, 0.6, 0.7), 1.4, 0.04),  # unseen: widest view, short echo
    "G": MagneticScanner(84, 1.4, 0.7, (0.7, -0.9, 0.2, 0.3), 1.0, 0.03),
    "H": MagneticScanner(105, 0.7, 1.4, (0.0, 1.0, -0.5, 0.4), 0.6, 0.05),
    "I": MagneticScanner(118, 1.6, 0.8, (-0.6, -0.8, 0.5, -0.4), 1.4, 0.04),
    "J": MagneticScanner(78, 0.8, 1.2, (-1.0, 0.2, 0.3, 0.5), 0.9, 0.10),
    "K": MagneticScanner(98, 1.2, 0.9, (0.3, 0.4, -0.2, 0.0), 0.9, 0.03),
    "L": MagneticScanner(86, 0.8, 1.1, (-0.3, -0.3, 0.2, -0.2), 1.1, 0.04),
}

REFERENCE_CAMERA: Final = FundusCamera(3.6, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0), 1.0, 0.1, 0.02, 0.03, 0.015)

CAMERAS: Final[dict[str, FundusCamera]] = {
    # view mm, gain (red, green, blue), gamma (red, green, blue), exposure, vignette, haze, blur mm, noise
    "A": FundusCamera(3.6, (1.03, 0.98, 0.97), (1.0, 1.0, 1.0), 1.03, 0.12, 0.02, 0.03, 0.015),
    "B": FundusCamera(4.3, (0.85, 0.95, 1.26), (1.13, 1.05, 0.92), 0.97, 0.4, 0.05, 0.05, 0.03),  # blue, wide view
    "C": FundusCamera(3.2, (1.12, 0.9, 0.88), (0.9, 0.95, 0.95), 1.1, 0.1, 0.08, 0.07, 0.04),  # warm, close view
    "D": FundusCamera(4.0, (0.77, 1.16, 0.88), (0.94, 0.9, 1.0), 0.69, 1.0, 0.21, 0.06, 0.04),  # green, dim, hazy
    "E": FundusCamera(4.6, (1.05, 1.07, 0.87), (1.25, 1.2, 1.13), 1.0, 0.6, 0.05, 0.04, 0.05),  # dark tones, wide
    "F": FundusCamera(3.2, (0.83, 0.91, 1.13), (0.88, 0.86, 0.8), 0.95, 0.2, 0.25, 0.09, 0.03),  # pale tones, soft
    "G": FundusCamera(4.2, (1.05, 0.82, 0.98), (1.1, 1.0, 1.1), 1.1, 0.4, 0.1, 0.06, 0.04),
    "H": FundusCamera(3.3, (0.88, 1.1, 0.82), (0.85, 1.15, 1.0), 0.85, 0.6, 0.15, 0.04, 0.05),
    "I": FundusCamera(4.5, (1.05, 0.92, 1.3), (1.25, 0.9, 0.85), 0.95, 0.2, 0.2, 0.05, 0.02),
    "J": FundusCamera(3.8, (0.78, 0.85, 0.88), (0.95, 0.85, 1.15), 0.95, 0.9, 0.1, 0.08, 0.06),
    "K": FundusCamera(3.4, (1.1, 1.0, 0.8), (1.1, 1.2, 1.1), 0.9, 0.3, 0.05, 0.04, 0.03),
    "L": FundusCamera(4.0, (0.9, 0.9, 1.2), (0.9, 0.9, 0.8), 1.1, 0.2, 0.10, 0.05, 0.02),
}


def scanners(shift: float) -> dict[str, MagneticScanner]:
    """Return every site's scanner, `shift` (0 or more) times as far from the reference as in its row."""
    return {site: REFERENCE_SCANNER.towards(own, shift) for site, own in SCANNERS.items()}


def cameras(shift: float) -> dict[str, FundusCamera]:
    """Return every site's camera, `shift` (0 or more) times as far from the reference as in its row."""
    return {site: REFERENCE_CAMERA.towards(own, shift) for site, own in CAMERAS.items()}
