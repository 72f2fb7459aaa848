"""Says which defences a site's policy had in force, and what private training cost, in words for those who decide."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import exp

from simulator.audit.model import PrivacySpent, SiteAudit
from simulator.audit.reading import Row
from simulator.report.words import counted, listed, size
from sites.gate import spent_in
from sites.policy import SitePolicy
from sites.privacy import epsilon_of

# How strong a promise is (Ponomareva et al., "How to DP-fy ML", JAIR 2023, section 5.2).
STRONG, REASONABLE = 1.0, 10.0


def spent_by(rows: Iterable[Row], policy: SitePolicy) -> PrivacySpent | None:
    """Return what private training cost by a site's ledger, over all arrivals; None where there was none."""
    trained = [row for row in rows if row.event == "training"]
    if not trained:
        return None
    delta = policy.dp_sgd.delta if policy.dp_sgd else max(row.delta for row in trained)
    parts = spent_in(row.model_dump() for row in trained).values()
    return PrivacySpent(
        epsilon=epsilon_of(parts, delta),
        delta=delta,
        iterations=sum(part.steps for part in parts),
        patients=min(row.patients for row in trained),
    )


def settings_of(policy: SitePolicy) -> dict[str, str]:
    """Return the settings of a policy beside what it admits, as text; a secret is not told."""
    found = {}
    for key, value in policy.model_dump(mode="json", exclude={"admit"}).items():
        if isinstance(value, dict):
            found[key] = ", ".join(f"{name} {one}" for name, one in value.items() if one is not None)
        elif value is None:
            found[key] = "not set"
        else:
            found[key] = "set" if key == "simulated_secret" else str(value)
    return found


def protections_of(policy: SitePolicy, spent: PrivacySpent | None = None, *, planned: bool = False) -> tuple[str, ...]:
    """Return a sentence or more for each defence that a policy asks for; `planned` where nothing was trained yet."""
    found = []
    if policy.round_counts_to > 1:
        found.append(f"Numbers of cases leave rounded to a multiple of {policy.round_counts_to}.")
    if policy.byte_budget is not None:
        found.append(f"No more than {size(policy.byte_budget)} may leave in a run.")
    if policy.most_copied is not None:
        found.append(
            "Before an image generator leaves, its images are compared with the hospital's own; where more than "
            f"{policy.most_copied:.0%} of the patients' images are copied, it stays."
        )
    if policy.clip is not None:
        found.append(
            f"How far one release may move the shared weights is limited (clipping, to an L2 norm of {policy.clip:g})."
        )
    if policy.clip is not None and policy.noise is not None:
        found.append(
            f"Random noise is added to every weight and gradient before it leaves (standard deviation "
            f"{policy.noise * policy.clip:.3g}, {policy.noise:g} times that limit). Whole numbers, statistics and "
            "scores leave without it."
        )
    if policy.dp_sgd is not None:
        found += _private(policy, spent, planned=planned)
    if policy.secure_aggregation is not None:
        found.append(
            "What leaves for learning can be read in a sum alone, over all hospitals of a round, of which there must "
            f"be {policy.secure_aggregation.least} or more (secure aggregation): masks hide each upload and cancel in "
            "the sum. That protects from a server that keeps to the protocol. All other hospitals of a round together "
            "with the server can work out the last one's upload; what the sum itself gives away is not covered. Scores "
            "leave without masks."
        )
    if policy.needs_secret:
        found.append(_secret(policy))
    return tuple(found)


def _private(policy: SitePolicy, spent: PrivacySpent | None, *, planned: bool) -> list[str]:
    assert policy.dp_sgd is not None
    opening = (
        "Patients are protected in training by differential privacy (DP-SGD): what one patient can change in a step of "
        "training is limited and hidden in noise. It covers the weights, not the number of cases or the scores."
    )
    if planned:
        return [f"{opening} What that is worth (epsilon) is known after the run."]
    if spent is None:
        return [f"{opening} No training took place."]
    cost = (
        f"All arrivals together cost epsilon {spent.epsilon:.2f} at delta {spent.delta:g}: who saw all that was "
        f"released can be {_times(spent.epsilon)} as sure as before that a certain patient took part, and with a "
        f"chance of {spent.delta:g} surer still. {_strength(spent.epsilon)}"
    )
    found = [opening, cost]
    if spent.delta * spent.patients >= 1:
        found.append(
            f"With {counted(spent.patients, 'patient')} a delta of {spent.delta:g} is no promise: it should be well "
            f"below {1 / spent.patients:.2g}."
        )
    return found


def _times(epsilon: float) -> str:
    """Say by what factor the odds may rise."""
    return f"at most {exp(epsilon):.3g} times" if epsilon < 20 else "more than a hundred million times"


def _strength(epsilon: float) -> str:
    if epsilon <= STRONG:
        return "That is a strong promise."
    if epsilon <= REASONABLE:
        return "That is a reasonable promise (up to 1 it would be a strong one)."
    return "That is a weak promise (above 10); only a measured exposure can say what it is worth."


def _secret(policy: SitePolicy) -> str:
    noise = policy.noise is not None or policy.dp_sgd is not None
    names = ["the noise"] * noise + ["the masks"] * (policy.secure_aggregation is not None)
    what, comes = listed(names), "comes" if names == ["the noise"] else "come"
    if policy.simulated_secret is None:
        return f"{what.capitalize()} {comes} from a secret that was drawn at the hospital and never left it."
    return (
        f"This is a simulation: {what} {comes} from a secret that stands in the policy, so that the run can be "
        f"repeated. Who can read the policy can take {what} off."
    )


def short_names(sites: Sequence[SiteAudit]) -> tuple[str, ...]:
    """Return the names of the defences that any of some sites had in force; epsilon is the largest."""
    asked = {key for site in sites for key, value in site.policy.settings.items() if value != "not set"}
    epsilons = [site.spent.epsilon for site in sites if site.spent]
    cost = f" (epsilon {max(epsilons):.1f})" if epsilons else ""
    names = {"clip": "clipping", "noise": "noise", "dp_sgd": f"DP-SGD{cost}", "most_copied": "guard against copies"}
    names |= {"secure_aggregation": "secure aggregation"}
    return tuple(name for key, name in names.items() if key in asked)


def sentence_of(sites: Sequence[SiteAudit]) -> str:
    """Say in one sentence which defences of trained weights were in force, and where."""
    learning = [site for site in sites if any(total.purpose == "learn" for total in site.released)]
    groups: dict[tuple[str, ...], list[str]] = {}
    for site in learning:
        groups.setdefault(short_names([site]), []).append(site.site)
    told = [f"{listed(names)} at {listed(where)}" for names, where in groups.items() if names]
    bare = [site for names, where in groups.items() if not names for site in where]
    if not learning:
        return ""
    if not told:
        return "No hospital asked for clipping, noise or private training: weights left as they were trained."
    without = f"; none at {listed(bare)}" if bare else ""
    return f"Defences in force: {', '.join(told)}{without}."
