"""The sentence of a finding, for a clinician."""

from __future__ import annotations

from simulator.exposure.findings import Finding


def sentence(found: Finding) -> str:
    """Say what an attack found, what guessing would have found, and what that means."""
    return f"{_WHO[found.target].format(site=found.site)}{_what(found)} {_verdict(found)}"


_WHO = {
    "released": "Site {site}: ",
    "over-trained control": "Control, a network over-trained on a few patients of site {site}: ",
    "untrained control": "Control, a network that never saw site {site}: ",
    "real images control": "Control, real images of site {site}: ",
}


def _what(found: Finding) -> str:
    share, low, high, chance = (f"{100 * v:.0f}" for v in (found.value, found.low, found.high, found.chance))
    interval = f"95 % interval {low}-{high}"
    if found.measure == "AUC":
        return (
            f"shown one patient who was trained on and one who was not, an attacker who has both patients' images "
            f"picks the right one {share} times in 100 ({interval}); guessing reaches {chance}."
        )
    if found.measure == "share of patients":
        count = round(found.value * found.patients)
        return (
            f"{count} of {found.patients} patients ({interval} %) have an image that replays give away; of patients "
            f"never trained on, {chance} % seem to by chance."
        )
    return f"{share} of 100 images ({interval}) are told to be of this site; guessing reaches {chance}."


def _verdict(found: Finding) -> str:
    if found.target == "over-trained control":
        return "The attack works." if found.exposes else "The attack finds nothing even here: it proves nothing below."
    if found.target == "untrained control":
        return "The attack sees what is not there." if found.exposes else "As it should be, nothing is found."
    if found.attack == "site of replays":
        return "The site is recognised, as replays are meant to look like it." if found.exposes else "Not recognised."
    if found.exposes:
        return "This exposes patients."
    return "No exposure is seen; with this few patients a weak one may be missed."
