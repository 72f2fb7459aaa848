"""Attack what a finished run released, with controls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from simulator.contract import Purpose
from simulator.exposure.attacks import Assault
from simulator.exposure.controls import (
    FEW,
    over_trained_generator,
    over_trained_segmenter,
    untrained_generator,
)
from simulator.exposure.findings import Exposure, Finding, Target
from simulator.exposure.rebuilding import Rebuilding
from simulator.exposure.subjects import Subject, subject_of
from simulator.recognizing import hits, site_classifier
from simulator.schedule import Schedule
from simulator.store import Store
from simulator.terminal import err
from sites.seeds import seed_of, seeded
from sites.wire import Kind
from strategies import Server
from strategies.common.denoising import sample
from strategies.common.diffusion import Generator
from strategies.common.segmenter import build_segmenter, slices_of

# The kinds that images can be made of.
GENERATES = (Kind.PROMPT, Kind.DIFFUSION, Kind.GENERATOR)


@dataclass(frozen=True, kw_only=True)
class Effort:
    """What an attacker spends: replays of a site, training steps of the controls, and steps of gradient inversion."""

    replays: int
    control_steps: int
    inversion_steps: int


def measure(store: Store, effort: Effort) -> Exposure:
    """Attack what each site of a finished run released."""
    schedule = store.schedule()
    config = schedule.config
    server = schedule.new_server()
    store.load(server)
    with seeded(seed_of(config.seed, "exposure")):
        attack = _Run(store=store, schedule=schedule, server=server, effort=effort)
        rebuilding = attack.rebuilding()
        findings = (*attack.findings(), *rebuilding.findings())
    return Exposure(
        schedule=config.name,
        strategy=config.strategy.name,
        seed=config.seed,
        replays=effort.replays,
        findings=findings,
        notes=(*_notes(attack, findings), *rebuilding.notes),
    )


@dataclass(frozen=True, kw_only=True)
class _Run:
    """A finished run under attack."""

    store: Store
    schedule: Schedule
    server: Server[Any, Any]
    effort: Effort

    @cached_property
    def kinds(self) -> dict[str, set[str]]:
        """The kinds that each site released as it learnt, by its receipts; of what was masked none can be read."""
        kinds: dict[str, set[str]] = {}
        for row in self.store.releases():
            if row["purpose"] == Purpose.LEARN:
                kinds.setdefault(row["site"], set()).update([] if row.get("masked") else [row["kind"]])
        return kinds

    @cached_property
    def masked(self) -> int:
        """Over how many sites at the least masked uploads can be read as a sum; 0 where none was masked."""
        return min((row["masked"] for row in self.store.releases() if row.get("masked")), default=0)

    @cached_property
    def subjects(self) -> dict[str, Subject]:
        """Who was trained on at each site that released, and who was not."""
        return {site: subject_of(self.schedule, site) for site in self.kinds}

    def rebuilding(self) -> Rebuilding:
        """Return the attacks that rebuild images."""
        return Rebuilding(
            store=self.store,
            schedule=self.schedule,
            server=self.server,
            subjects=self.subjects,
            kinds=frozenset(kind for kinds in self.kinds.values() for kind in kinds)
            if not self.masked
            else frozenset(),
            steps=self.effort.inversion_steps,
        )

    def findings(self) -> Iterator[Finding]:
        """Yield the controls, then what was found of each site in the order of arrival."""
        subjects = self.subjects
        generators, made = self.server.generators(), self.server.replays(self.effort.replays)
        first = next(iter(subjects.values()))
        yield from self._segmenter_controls(first)
        if generators:
            yield from self._generator_controls(first)
        for site, subject in subjects.items():
            err.print(f"attacking what site {site} released")
            yield from self._assault(subject, Kind.SEGMENTER).on_segmenter(self._segmenter(site))
            if site in generators:
                yield from self._assault(subject, *GENERATES).on_generator(generators[site])
            if site in made:
                yield from self._assault(subject, *GENERATES).on_replays(made[site][0])
        for before, after in pairwise(site for site in subjects if site in generators):
            err.print(f"attacking site {before} through what site {after} released")
            yield from self._other(subjects[before], "next site's release").on_generator(generators[after])
        if len(made) > 1:
            yield from self._sites(subjects, {site: images for site, (images, _) in made.items()})

    def _assault(self, subject: Subject, *kinds: Kind) -> Assault:
        released = not self.kinds[subject.site].isdisjoint(kinds)
        return Assault(subject=subject, target="released", released=released, seed=self.schedule.config.seed)

    def _other(self, subject: Subject, target: Target) -> Assault:
        """Return an attack on what the site itself did not release."""
        return Assault(subject=subject, target=target, released=False, seed=self.schedule.config.seed)

    def _segmenter(self, site: str) -> torch.nn.Module:
        """Return a site's segmenter as it stood after the last step in which that site learnt."""
        steps = [row["step"] for row in self.store.releases() if (row["site"], row["purpose"]) == (site, Purpose.LEARN)]
        network = build_segmenter(self.schedule.setting)
        network.load_state_dict(self.store.predictors(site)[max(steps)])
        return network

    def _segmenter_controls(self, subject: Subject) -> Iterator[Finding]:
        err.print("training the controls")
        few = replace(subject, patients=subject.patients[:FEW])
        setting = self.schedule.setting
        learnt = over_trained_segmenter(setting, few.patients, self.effort.control_steps)
        yield from self._other(few, "over-trained control").on_segmenter(learnt)
        yield from self._other(subject, "untrained control").on_segmenter(build_segmenter(setting))

    def _generator_controls(self, subject: Subject) -> Iterator[Finding]:
        few, setting = replace(subject, patients=subject.patients[:FEW]), self.schedule.setting
        like = next(iter(self.server.generators().values()))
        seed = seed_of(setting.seed, "exposure", "replays")
        controls: tuple[tuple[Target, Subject, Generator], ...] = (
            (
                "over-trained control",
                few,
                over_trained_generator(like, setting, few.patients, self.effort.control_steps),
            ),
            ("untrained control", subject, untrained_generator(like, setting)),
        )
        for target, attacked, generator in controls:
            assault = self._other(attacked, target)
            yield from assault.on_generator(generator)
            yield from assault.on_replays(sample(generator, self.effort.replays, seed)[0])

    def _sites(self, subjects: Mapping[str, Subject], made: Mapping[str, Tensor]) -> Iterator[Finding]:
        """Yield how well replays show which site they stand for, beside real images that nobody trained on."""
        setting = self.schedule.setting
        classifier = site_classifier(setting, [slices_of(subjects[site].patients)[0] for site in made])
        yield self._untold(subjects, [hits(classifier, images, row) for row, images in enumerate(self._noise(made))])
        for row, (site, images) in enumerate(made.items()):
            others = slices_of(subjects[site].others)[0]
            control = self._other(subjects[site], "real images control")
            yield control.on_site(hits(classifier, others, row), len(made))
            yield self._assault(subjects[site], *GENERATES).on_site(hits(classifier, images, row), len(made))

    def _noise(self, made: Mapping[str, Tensor]) -> Iterator[Tensor]:
        """Yield, for each site, pictures that a generator which saw no site draws in its name."""
        setting = self.schedule.setting
        generator = untrained_generator(next(iter(self.server.generators().values())), setting)
        for site, images in made.items():
            yield sample(generator, len(images), seed_of(setting.seed, "exposure", "untrained", site))[0]

    def _untold(self, subjects: Mapping[str, Subject], right: Sequence[Tensor]) -> Finding:
        """Return the negative control of all sites at once: by itself a share is 0 or 1 if all noise looks alike."""
        everyone = Subject(
            site="all",
            patients=tuple(case for subject in subjects.values() for case in subject.patients),
            others=tuple(case for subject in subjects.values() for case in subject.others),
        )
        return self._other(everyone, "untrained control").on_site(torch.cat(list(right)), len(right))


def _notes(attack: _Run, findings: tuple[Finding, ...]) -> Iterator[str]:
    kinds = {kind for released in attack.kinds.values() for kind in released}
    if kinds & {Kind.IMAGE, Kind.LABEL}:
        yield "images or labels of patients left the sites as such; no attack is needed to see them."
    if Kind.PROMPT in kinds:
        yield "a prompt says which site it is of: it is released under that site's name."
        yield "a site has one scanner in most sources; telling the scanner is then the same as telling the site."
    if attack.masked:
        yield (
            f"uploads left under masks: the server can read their sum over {attack.masked} sites or more, and none by "
            "itself. The segmenter attacked is the server's, made of such sums; nothing is rebuilt from updates."
        )
    elif Kind.SEGMENTER not in kinds:
        yield "no site released a segmenter; the one attacked was made by the server of what they released."
    elif len(attack.kinds) > 1:
        yield "the segmenter attacked is the one that stood after the site's last step; it may be a mean over sites."
    fewest = min((finding.others for finding in findings), default=0)
    if fewest < 100:
        yield f"with {fewest} patients who were not trained on, a false-positive rate of 1 % cannot be resolved."
