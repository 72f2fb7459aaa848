"""The sentence of a finding, for a clinician."""

from __future__ import annotations

from simulator.exposure.findings import Finding


def sentence(found: Finding) -> str:
    """Say what an attack found, what guessing would have found, and what that means."""
    return f"{_who(found)}{_what(found)} {_verdict(found)}"


def _who(found: Finding) -> str:
    if (found.attack, found.target) == ("site of replays", "untrained control"):
        return "Control, pictures that a network which saw no site draws in the name of each: "
    return _WHO[found.target].format(site=found.site)


_WHO = {
    "released": "Site {site}: ",
    "next site's release": "Site {site}, through what the next site released: ",
    "over-trained control": "Control, a network over-trained on a few patients of site {site}: ",
    "untrained control": "Control, a network that never saw site {site}: ",
    "real images control": "Control, real images of site {site}: ",
    "one patient control": "Control, plain gradients of single patients of site {site}, outlines known: ",
    "whole spectrum control": "Control, whole spectra of single images of site {site}, sampled twice as finely: ",
    "other patient control": "Control, what was rebuilt of one patient of site {site}, held against another: ",
    "own amplitudes control": "Control, amplitudes of all slices of site {site}: ",
    "other amplitudes control": "Control, amplitudes of patients of site {site} who were not trained on: ",
}

_MUST_SUCCEED = ("over-trained control", "one patient control", "whole spectrum control", "own amplitudes control")
_MUST_FAIL = ("untrained control", "other patient control", "other amplitudes control")

_BY = {
    "segmentation loss": "by how well the segmenter fits them",
    "denoising loss": "by how well the generator takes noise off them",
    "SecMI": "by how surely the generator finds back to them (SecMI)",
    "copy test": "a replay is nearer to than patients of the site are to each other",
    "extraction": "replays come back to again and again",
}


def _what(found: Finding) -> str:
    if found.measure == "correlation":
        value, low, high, chance = (f"{v:.2f}" for v in (found.value, found.low, found.high, found.chance))
        return (
            f"pictures that an attacker rebuilt by {found.attack} correlate with the patients' own images by {value} "
            f"(95 % interval {low} to {high}; 1 is the image itself); other patients' images of the site by {chance}."
        )
    share, low, high, chance = (f"{100 * v:.0f}" for v in (found.value, found.low, found.high, found.chance))
    interval = f"95 % interval {low}-{high}"
    if found.measure == "AUC":
        return (
            f"shown one patient who was trained on and one who was not, an attacker who has both patients' images "
            f"picks the right one {share} times in 100 {_BY[found.attack]} ({interval}); guessing reaches {chance}."
        )
    if found.measure == "share of patients":
        count = round(found.value * found.patients)
        if found.attack == "amplitude match":
            return (
                f"an attacker who has patients' images finds, of {count} of {found.patients} patients ({interval} %), "
                f"one whose amplitudes are there; guessing finds {chance} %."
            )
        return (
            f"{count} of {found.patients} patients ({interval} %) have an image that {_BY[found.attack]}; of patients "
            f"never trained on, {chance} %."
        )
    whose = "the site named" if found.target == "untrained control" else "this site"
    return f"{share} of 100 images ({interval}) are told to be of {whose}; guessing reaches {chance}."


def _verdict(found: Finding) -> str:
    if found.target in _MUST_SUCCEED:
        return "The attack works." if found.exposes else "The attack finds nothing even here: it proves nothing below."
    if found.target in _MUST_FAIL:
        return "The attack sees what is not there." if found.exposes else "As it should be, nothing is found."
    if found.attack == "site of replays":
        return "The site is recognised, as replays are meant to look like it." if found.exposes else "Not recognised."
    if found.exposes:
        return "This exposes patients."
    return "No exposure is seen; with this few patients a weak one may be missed."
