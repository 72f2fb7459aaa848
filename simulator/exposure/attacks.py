"""Every attack on one target, and what each found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from simulator.exposure.extraction import extracted, repeated
from simulator.exposure.findings import Attack, Finding, Measure, Target
from simulator.exposure.membership import Score, denoising_loss, secmi, segmenter_loss, suspect
from simulator.exposure.statistics import Interval, auc, by_patient, share, tpr_at_low_fpr
from simulator.exposure.subjects import Subject
from simulator.exposure.words import sentence
from sites.copying import CopyTest
from sites.seeds import seed_of
from sites.stream import Case
from strategies.common.diffusion import Generator
from strategies.common.segmenter import slices_of


@dataclass(frozen=True, kw_only=True)
class Assault:
    """An attacker before one target: whose patients it is about, what is attacked, and did the site release it."""

    subject: Subject
    target: Target
    released: bool
    seed: int

    def on_generator(self, generator: Generator) -> list[Finding]:
        """Infer membership from a generator."""
        noise = seed_of(self.seed, "exposure", "noise")
        return [
            self._membership("denoising loss", denoising_loss(generator, noise)),
            self._membership("SecMI", secmi(generator)),
        ]

    def on_segmenter(self, network: nn.Module) -> list[Finding]:
        """Infer membership from a segmenter."""
        return [self._membership("segmentation loss", segmenter_loss(network))]

    def on_replays(self, made: Tensor) -> list[Finding]:
        """Look for the site's images among generated ones [M, C, H, W]."""
        trained, others = slices_of(self.subject.patients)[0], slices_of(self.subject.others)[0]
        test = CopyTest(trained, others)
        away = extracted(torch.cat([trained, others]), repeated(made))
        return [
            self._copies("copy test", test.copied(made), test.copied_held_out(made)),
            self._copies("extraction", away[: len(trained)], away[len(trained) :]),
        ]

    def on_site(self, hits: Tensor, sites: int) -> Finding:
        """Say how often a classifier that knows `sites` sites took images, bool [M], for this site's."""
        return self.finding("site of replays", "share of images", share(hits), 1 / sites)

    def _membership(self, attack: Attack, score: Score) -> Finding:
        suspects = suspect(score, self.subject.patients, self.subject.others)
        interval = auc(suspects, seed_of(self.seed, "exposure", attack, self.target, self.subject.site))
        return self.finding(attack, "AUC", interval, 0.5, tpr_at_low_fpr(suspects))

    def _copies(self, attack: Attack, copied: Tensor, by_chance: Tensor) -> Finding:
        found, others = _patients(copied, self.subject.patients), _patients(by_chance, self.subject.others)
        return self.finding(attack, "share of patients", share(found), float(others.float().mean()))

    def finding(
        self, attack: Attack, measure: Measure, interval: Interval, chance: float, tpr: float | None = None
    ) -> Finding:
        """Return what an attack reached, with its sentence."""
        found = Finding(
            attack=attack,
            target=self.target,
            site=self.subject.site,
            released=self.released,
            measure=measure,
            **interval._asdict(),
            chance=chance,
            patients=len({case.patient for case in self.subject.patients}),
            others=len({case.patient for case in self.subject.others}),
            tpr_at_1_fpr=tpr,
            sentence="",
        )
        return found.model_copy(update={"sentence": sentence(found)})


def _patients(images: Tensor, cases: Sequence[Case]) -> Tensor:
    """Return which patients have at least one of the marked images, bool [patients]."""
    return by_patient(images, [case.patient for case in cases for _ in case.images]) > 0
