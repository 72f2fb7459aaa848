"""The only way out of a site: a policy that the site owns, a closed set of refusals, and a ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from enum import IntEnum

import torch
from torch import Tensor

from sites.aggregation import Masks, OutOfRange
from sites.copying import CopyTest
from sites.defences import COVERED, blur, clip, covers, without_start
from sites.errors import WardroundError, WireError
from sites.ledger import Ledger, Row
from sites.policy import SitePolicy
from sites.privacy import PrivateTraining, Spent, epsilon_of
from sites.secret import Secret
from sites.stream import Case, Turn
from sites.wire import Kind, Manifest, Payload, kinds_of, pack, unpack


class Code(IntEnum):
    """Why nothing left a site. The set is closed: a code is all that the other end learns."""

    OK = 0
    SITE_ERROR = 1
    KIND_NOT_ADMITTED = 2
    NOT_AS_DECLARED = 3
    NOT_FINITE = 4
    OVER_BUDGET = 5
    DATA_GONE = 6
    DATA_UNREADABLE = 7
    BAD_REQUEST = 8
    BUSY = 9
    NO_REPLY = 10
    SITE_DIED = 11
    COPIES = 12
    UNDEFENDED = 13
    OUT_OF_RANGE = 14


class Refused(WardroundError):
    """Nothing left the site, for the reason that the code names."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.name)
        self.code = code


class Gate:
    """Lets a payload out, or refuses it; either way the ledger has a row before anything is sent."""

    def __init__(self, policy: SitePolicy, ledger: Ledger, secret: Secret | None = None) -> None:
        assert secret is not None or not policy.needs_secret
        self.policy = policy
        self._ledger = ledger
        self._secret = secret

    def admit(self, manifest: Manifest) -> None:
        """Raise `Refused` where the policy does not admit every kind that a manifest declares."""
        if self.policy.refused_kinds(manifest):
            raise Refused(Code.KIND_NOT_ADMITTED)

    def release(
        self,
        payload: Payload,
        blank: Payload,
        manifest: Manifest,
        turn: Turn,
        purpose: str,
        *,
        start: Mapping[str, Tensor] | None = None,
        masks: Masks | None = None,
    ) -> dict[str, bytes]:
        """Return the bytes that may leave, by leaf key; raise `Refused` where the payload may not.

        A payload may leave where its kinds are admitted, it is exactly what its manifest declares, all its
        floats are finite, and the byte budget holds it. `start` is what its weights began as, by leaf key: the policy
        may bound their change. With `masks` it leaves under them, after all else was done to it.
        """
        self.admit(manifest)
        if type(payload) is not type(blank):
            raise Refused(Code.NOT_AS_DECLARED)
        try:
            # A copy of the gate's own: what is looked at here is what leaves, whatever becomes of the payload.
            leaving = unpack(blank, manifest, pack(payload, manifest))
        except WireError as error:
            raise Refused(Code.NOT_AS_DECLARED) from error
        if not _finite(leaving):
            raise Refused(Code.NOT_FINITE)
        self._round_counts(leaving)
        defended = self._defend(leaving, manifest, start or {})
        packed = pack(leaving, manifest) if masks is None else _masked(leaving, manifest, masks)
        total = sum(map(len, packed.values()))
        if self.policy.byte_budget is not None and self._ledger.bytes_released + total > self.policy.byte_budget:
            raise Refused(Code.OVER_BUDGET)
        rows = account(packed, manifest, turn, purpose, event="release")
        if masks is not None:
            self._hold_to_first(rows)
        hidden = {"masked": masks.sites, "roster": masks.roster} if masks else {}
        self._ledger.append({**row, **defended.get(row["field"], {}), **hidden} for row in rows)
        return packed

    def guard(self, made: Tensor, trained: Tensor, held_out: Tensor) -> None:
        """Raise `Refused` where generated images [M, C, H, W] copy more of the trained ones than the policy bears."""
        most = self.policy.most_copied
        if most is not None and CopyTest(trained, held_out).copied(made).float().mean() > most:
            raise Refused(Code.COPIES)

    def private_training(self, cases: Iterable[Case], down: str, turn: Turn) -> PrivateTraining | None:
        """Return what training on cases must keep to, where the policy asks for DP-SGD.

        down: SHA-256 of what came down. Draws and noise are the same where the same turn is done again on the same, and
        others on anything else: two answers must not have the same noise.
        """
        if self.policy.dp_sgd is None:
            return None
        assert self._secret is not None
        own = self._secret.derived("training", turn.step, turn.round, down)
        return PrivateTraining(self.policy.dp_sgd, cases, Secret(own))

    def trained(self, privacy: PrivateTraining, down: str, turn: Turn, purpose: str) -> None:
        """Record what private training spent, with the epsilon of all of it so far; the same turn counts once.

        down: SHA-256 of what came down for it. Raises `Refused` where the policy allows no such epsilon.
        """
        asked, row = privacy.policy, {"event": "training", "purpose": purpose, **turn.as_row(), "down": down}
        told = {"delta": asked.delta, "max_grad_norm": asked.max_grad_norm, "patients": privacy.patients}
        before = spent_in(self._ledger.rows())
        for number, part in enumerate(privacy.spent):
            before[turn.step, turn.round, down, number] = part
            epsilon = epsilon_of(before.values(), asked.delta)
            self._ledger.append([{**row, **told, "part": number, **asdict(part), "epsilon": epsilon}])
        if asked.most_epsilon is not None and epsilon_of(before.values(), asked.delta) > asked.most_epsilon:
            raise Refused(Code.OVER_BUDGET)

    def refuse(self, code: Code, turn: Turn, purpose: str) -> None:
        """Record that nothing left."""
        self._ledger.append([{"event": "refusal", "purpose": purpose, **turn.as_row(), "code": code.name}])

    def received(self, packed: Mapping[str, bytes], manifest: Manifest, turn: Turn, purpose: str) -> None:
        """Record what came down to the site."""
        self._ledger.append(account(packed, manifest, turn, purpose, event="received"))

    def _hold_to_first(self, rows: Iterable[Row]) -> None:
        """Raise `Refused` where a turn released something else before: two sums may differ by one site's own."""
        places = {(row["purpose"], row["step"], row["round"], row["field"]): row["sha256"] for row in rows}
        for row in self._ledger.rows():
            place = row["purpose"], row["step"], row["round"], row.get("field")
            if row["event"] == "release" and places.get(place, row["sha256"]) != row["sha256"]:
                raise Refused(Code.UNDEFENDED)

    def _defend(
        self, leaving: Payload, manifest: Manifest, start: Mapping[str, Tensor]
    ) -> dict[str, dict[str, float | None]]:
        """Clip and noise a payload in place, as the policy says; return what was done to each field that is covered.

        `bare` are the bytes of its whole numbers, which leave as they are. Raises `Refused` where nobody says what its
        weights began as.
        """
        bound, noise = self.policy.clip, self.policy.noise
        covered = {leaf.field: 0 for leaf in manifest if leaf.kind in COVERED}
        if bound is None or not covered:
            return {}
        if without_start(manifest, start):
            raise Refused(Code.UNDEFENDED)
        clip(leaving, manifest, start, bound)
        if noise is not None and self._secret is not None:
            blur(leaving, manifest, start, noise * bound, self._secret)
        if not _finite(leaving):
            raise Refused(Code.NOT_FINITE)
        for leaf in manifest:
            if leaf.field in covered and not covers(leaf):
                covered[leaf.field] += leaf.nbytes
        return {field: {"clip": bound, "noise": noise, "bare": bare} for field, bare in covered.items()}

    def _round_counts(self, payload: Payload) -> None:
        """Round every count in place, in double: a float32 quotient of a large count gives no multiple."""
        unit = self.policy.round_counts_to
        counted = [name for name, kind in kinds_of(type(payload)).items() if kind is Kind.COUNT]
        for tensor in _tensors_in(payload, counted if unit > 1 else ()):
            tensor.copy_((tensor.double() / unit).round().clamp(min=1) * unit)


def _masked(payload: Payload, manifest: Manifest, masks: Masks) -> dict[str, bytes]:
    try:
        return masks.hide(payload, manifest)
    except OutOfRange as error:
        raise Refused(Code.OUT_OF_RANGE) from error


def account(packed: Mapping[str, bytes], manifest: Manifest, turn: Turn, purpose: str, *, event: str) -> list[Row]:
    """Return a row per declared field: its kind, bytes, and the SHA-256 over its leaves in manifest order."""
    rows: dict[str, Row] = {}
    digests = {leaf.field: hashlib.sha256() for leaf in manifest}
    for leaf in manifest:
        digests[leaf.field].update(packed[leaf.key])
        row = rows.setdefault(
            leaf.field,
            {"event": event, "purpose": purpose, **turn.as_row(), "field": leaf.field, "kind": leaf.kind, "bytes": 0},
        )
        row["bytes"] += len(packed[leaf.key])
    return [{**row, "sha256": digests[field].hexdigest()} for field, row in rows.items()]


def spent_in(rows: Iterable[Row]) -> dict[tuple[int, int, str, int], Spent]:
    """Return what a ledger says that private training spent: a turn that was done again on the same spent it once."""
    return {
        (row["step"], row["round"], row["down"], row["part"]): Spent(
            noise_multiplier=row["noise_multiplier"], sample_rate=row["sample_rate"], steps=row["steps"]
        )
        for row in rows
        if row["event"] == "training"
    }


def _finite(payload: Payload) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in _tensors_in(payload, kinds_of(type(payload))))


def _tensors_in(payload: Payload, names: Iterable[str]) -> list[Tensor]:
    values = [getattr(payload, name) for name in names]
    return [tensor for value in values for tensor in (value.values() if isinstance(value, Mapping) else [value])]
