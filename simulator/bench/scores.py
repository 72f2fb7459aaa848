"""The scores that a bench compares strategies by: what each is called, its unit, and which way is better."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.metrics import METRICS, Metric
from simulator.report import words
from simulator.report.terms import TERMS

_NOUNS = {
    "accuracy": "{} on seen sites",
    "unseen": "{} on unseen sites",
    "plasticity": "{} when just learnt",
    "backward_transfer": "backward transfer of {}",
    "forgetting": "forgetting of {}",
    "forward_transfer": "forward transfer of {}",
    "intransigence": "intransigence of {}",
}


@dataclass(frozen=True)
class Score:
    """A column of `Results.trials`.

    noun: its name inside a sentence; title: over a table's column; signed: whether numbers carry a plus
    """

    key: str
    title: str
    noun: str
    metric: Metric
    higher_is_better: bool
    signed: bool = False

    @property
    def sign(self) -> int:
        """1 where more is better, else -1."""
        return 1 if self.higher_is_better else -1

    def number(self, value: float, *, signed: bool | None = None, unit: bool = False) -> str:
        """Write a value of this score."""
        return words.number(value, self.metric, signed=self.signed if signed is None else signed, unit=unit)


def _all_scores() -> dict[str, Score]:
    shorts = {term.key: "Seen" if term.key == "accuracy" else term.short for term in TERMS}
    shorts["intransigence"] = "Intransigence"
    found = {}
    for metric in METRICS:
        for name, noun in _NOUNS.items():
            if name == "intransigence" and metric.key != "dice":
                continue
            level = name in ("accuracy", "unseen", "plasticity")
            better = metric.higher_is_better if level else name.endswith("transfer")
            key = f"{metric.key}_{name}"
            found[key] = Score(
                key, f"{metric.title} {shorts[name]}", noun.format(metric.title), metric, better, signed=not level
            )
    return found


SCORES = _all_scores()
SEEN, UNSEEN = SCORES["dice_accuracy"], SCORES["dice_unseen"]
# Those in the main table, each of which is tested; the others are reported as means.
TESTED = (
    SEEN,
    UNSEEN,
    SCORES["dice_forgetting"],
    SCORES["dice_backward_transfer"],
    SCORES["hd95_accuracy"],
    SCORES["hd95_unseen"],
)
