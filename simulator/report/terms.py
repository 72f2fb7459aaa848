"""The scores of continual learning as reports explain them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """A score of continual learning as a page explains it; `transfer` ones carry a sign."""

    key: str
    short: str
    meaning: str
    formula: str
    transfer: bool = False


TERMS = (
    Term("accuracy", "ACC", "mean over the seen sites", "mean over seen j of R[T, j]"),
    Term("unseen", "Unseen", "mean over sites never trained on", "mean over unseen j of R[T, j]"),
    Term("plasticity", "Plasticity", "mean over sites, each when just learnt", "mean over seen j of R[l(j), j]"),
    Term(
        "backward_transfer",
        "BWT",
        "backward transfer: change since a site was learnt; above 0 is better",
        "mean over j with l(j) < T of s · (R[T, j] - R[l(j), j])",
        transfer=True,
    ),
    Term(
        "forgetting",
        "Forgetting",
        "fall from a site's best earlier score; above 0 is worse",
        "mean over j with l(j) < T of (max over f(j) ≤ l < T of s · R[l, j]) - s · R[T, j]",
        transfer=True,
    ),
    Term(
        "forward_transfer",
        "FWT",
        "forward transfer: gain on a site before it arrives; above 0 is better",
        "mean over j with f(j) ≥ 2 of s · (R[f(j) - 1, j] - b(j))",
        transfer=True,
    ),
)
