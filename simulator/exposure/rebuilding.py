"""What an attacker rebuilds: images from gradients or first updates, and from the amplitudes of their spectra."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from simulator.exposure.again import first_turns
from simulator.exposure.attacks import Assault
from simulator.exposure.findings import Attack, Finding, Target
from simulator.exposure.inversion import Update, gradient_of, invert
from simulator.exposure.phase import from_low_amplitudes, from_whole_spectrum, whole_spectrum
from simulator.exposure.slices import SAME, Slice, distances, middles, resemble, sources_of
from simulator.exposure.statistics import above, by_patient, likeness, share
from simulator.exposure.subjects import Subject
from simulator.schedule import Schedule
from simulator.store import Store
from simulator.terminal import err
from sites.seeds import seed_of
from sites.stream import Case
from sites.wire import Kind, Payload, kinds_of
from strategies import Server, feddg
from strategies.common.segmenter import build_segmenter, slices_of

FEW = 6


@dataclass(frozen=True, kw_only=True)
class Rebuilding:
    """A finished run of which an attacker rebuilds images; `kinds` left, `steps` are those of inversion.

    What must be said of it beside the findings is added to `notes`.
    """

    store: Store
    schedule: Schedule
    server: Server[Any, Any]
    subjects: Mapping[str, Subject]
    kinds: frozenset[str]
    steps: int
    notes: list[str] = field(default_factory=list)

    def findings(self) -> Iterator[Finding]:
        """Yield what gradients show, then what amplitudes show; nothing of what did not leave."""
        if Kind.GRADIENT in self.kinds or (Kind.SEGMENTER in self.kinds and any(map(self._one_step, self.subjects))):
            yield from self._updates()
        elif Kind.SEGMENTER in self.kinds:
            self.notes.append(
                "updates of many gradient steps left; inversion is tried on gradients and single steps alone."
            )
        if Kind.STATISTIC not in self.kinds:
            return
        down = self.server.broadcast(next(iter(self.subjects)), len(self.schedule.timeline.steps))
        if isinstance(down, feddg.Broadcast) and down.amplitudes:
            yield from self._spectra(down)

    def _updates(self) -> Iterator[Finding]:
        """Yield what is seen in each site's first update, controls first; that is where most leaves."""
        controlled = False
        for turn in first_turns(self.store):
            if not turn.same:
                self.notes.append(
                    f"site {turn.site}'s first release comes out otherwise on this machine; that is attacked."
                )
            network = build_segmenter(self.schedule.setting)
            network.load_state_dict(dict(_segmenter_in(turn.down)), strict=False)
            update = update_in(turn.down, turn.up, network, one_step=self._one_step(turn.site))
            if update is None:
                continue
            if not controlled:
                err.print("rebuilding images from gradients of single patients")
                yield from self._gradient_controls(self.subjects[turn.site])
                controlled = True
            err.print(f"rebuilding images from the update of site {turn.site}")
            yield self._inverted(turn.site, network, update)

    def _one_step(self, site: str) -> bool:
        slices = sum(len(case.images) for case in self._first_cases(site))
        return self.schedule.setting.budget.iterations_a_round(slices) == 1

    def _first_cases(self, site: str) -> tuple[Case, ...]:
        visit = self.schedule.timeline.visits[site][0]
        return self.schedule.source.train(site, visit.first, visit.count)

    def _inverted(self, site: str, network: nn.Module, update: Update) -> Finding:
        """Rebuild a batch without knowing its masks, and hold every patient against the image most like."""
        cases, others = self._first_cases(site), self.subjects[site].others
        count = min(self.schedule.setting.budget.batch, sum(len(case.images) for case in cases))
        shape = self.schedule.setting.shape
        made = invert(
            network, update, (count, shape.channels, shape.height, shape.width), seed=self._seed(site), steps=self.steps
        )
        best = [torch.stack([likeness(made, case.images).max() for case in those]) for those in (cases, others)]
        return self._correlated(
            replace(self.subjects[site], patients=cases),
            "gradient inversion",
            "released",
            *map(_by_case, best, (cases, others)),
        )

    def _gradient_controls(self, subject: Subject) -> Iterator[Finding]:
        network, few = build_segmenter(self.schedule.setting), middles(subject.patients[:FEW])
        made = []
        for one in few:
            image, mask = one.image[None], one.mask[None]
            left = Update(values=gradient_of(network.train(), image, mask), first_step=False)
            made.append(
                invert(network, left, tuple(image.shape), seed=self._seed(subject.site), steps=self.steps, masks=mask)[
                    0
                ]
            )
        yield from self._held_against(subject, "gradient inversion", "one patient control", torch.stack(made), few)

    def _spectra(self, down: feddg.Broadcast) -> Iterator[Finding]:
        """Yield who is found by amplitudes alone, and what pictures of them come out."""
        first = next(iter(self.subjects.values()))
        few = middles(first.patients[:FEW])
        start = self._usual(first.site)
        made = from_whole_spectrum(whole_spectrum(torch.stack([one.image for one in few])), start)
        yield from self._held_against(first, "amplitude reconstruction", "whole spectrum control", made, few)
        of_own, of_others = (
            feddg.low_amplitudes(slices_of(cases)[0], *down.amplitudes[first.site].shape[-2:])
            for cases in (first.patients, first.others)
        )
        yield self._matched(first, of_own, "own amplitudes control")
        yield self._matched(first, of_others, "other amplitudes control")
        for site, subject in self.subjects.items():
            left = down.amplitudes[site]
            yield self._matched(subject, left, "released")
            place = feddg.window(
                torch.empty(self.schedule.setting.shape.height, self.schedule.setting.shape.width), *left.shape[-2:]
            )
            made = from_low_amplitudes(left, place, self._usual(site))
            there = sources_of(left, subject.patients)
            known = [row for row, one in enumerate(there) if one is not None]
            yield from self._held_against(
                subject, "amplitude reconstruction", "released", made[known], [one for one in there if one is not None]
            )

    def _matched(self, subject: Subject, left: Tensor, target: Target) -> Finding:
        """Say of how many patients an attacker who has their images finds the amplitudes among some [N, C, h, w].

        Chance is of how many patients who were not trained on; for amplitudes of those, it is none.
        """
        found, others = (
            torch.tensor([bool((distances(left, case.images) < SAME).any()) for case in cases])
            for cases in (subject.patients, subject.others)
        )
        chance = 0.0 if target == "other amplitudes control" else float(others.float().mean())
        return self._assault(subject, target).finding("amplitude match", "share of patients", share(found), chance)

    def _usual(self, site: str) -> Tensor:
        """Return the mean image of the other sites: what an attacker at one of them starts from."""
        sites = [other for other in self.schedule.timeline.sites if other != site]
        cases = [case for other in sites for case in self.schedule.source.held_out(other, FEW)]
        shape = self.schedule.setting.shape
        flat = torch.full((shape.channels, shape.height, shape.width), 0.5)
        return slices_of(cases)[0].mean(0) if cases else flat

    def _held_against(
        self, subject: Subject, attack: Attack, target: Target, made: Tensor, slices: Sequence[Slice]
    ) -> Iterator[Finding]:
        """Yield how rebuilt images [N, C, H, W] resemble their own slices, then those of another patient trained on.

        Chance is how they resemble slices at the same place of patients who were not trained on.
        """
        chance = torch.stack([resemble(made, [one.of(other) for one in slices]).mean() for other in subject.others])
        names = [one.case.patient for one in slices]
        apart = list(dict.fromkeys(names))
        cases = {one.case.patient: one.case for one in slices}
        swapped = [one.of(cases[apart[(apart.index(one.case.patient) + 1) % len(apart)]]) for one in slices]
        shown = replace(subject, patients=tuple(cases.values()))
        for about, them in ((target, list(slices)), ("other patient control", swapped)):
            own = by_patient(resemble(made, them), names)
            yield self._correlated(shown, attack, about, own, chance)

    def _correlated(self, subject: Subject, attack: Attack, target: Target, own: Tensor, others: Tensor) -> Finding:
        seed = self._seed(subject.site)
        return self._assault(subject, target).finding(
            attack, "correlation", above(own, others, seed), float(others.mean())
        )

    def _assault(self, subject: Subject, target: Target) -> Assault:
        return Assault(subject=subject, target=target, released=target == "released", seed=self.schedule.config.seed)

    def _seed(self, site: str) -> int:
        return seed_of(self.schedule.config.seed, "exposure", "rebuilding", site)


def update_in(down: Payload, up: Payload, network: nn.Module, *, one_step: bool) -> Update | None:
    """Return what a receiver can read as a gradient at the network that came down; None where there is nothing.

    That is a gradient that left as such (SCAFFOLD's is a mean along a round that starts there; a Fisher diagonal is
    none: it holds squares, never below zero), or what a single step changed in the segmenter.
    """
    known = dict(network.named_parameters()).keys()
    for name, kind in kinds_of(type(up)).items():
        values = getattr(up, name)
        if kind is Kind.GRADIENT and values.keys() <= known and any(bool((part < 0).any()) for part in values.values()):
            return Update(values=values, first_step=False)
    before, after = _segmenter_in(down), _segmenter_in(up)
    moved = {name: before[name] - after[name] for name in after if name in known and name in before}
    return Update(values=moved, first_step=True) if one_step and moved else None


def _segmenter_in(payload: Payload) -> Mapping[str, Tensor]:
    fields = [name for name, kind in kinds_of(type(payload)).items() if kind is Kind.SEGMENTER]
    found: Mapping[str, Tensor] = getattr(payload, fields[0]) if fields else {}
    return found


def _by_case(values: Tensor, cases: Sequence[Case]) -> Tensor:
    return by_patient(values, [case.patient for case in cases])
