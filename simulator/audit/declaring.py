"""Holds what a site recorded and keeps against what the method declares: manifests and blank vault."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from simulator.audit.model import Finding
from simulator.audit.reading import Row, SiteEvidence
from simulator.contract import Contracts, Purpose, agreed
from simulator.store import Store
from sites.errors import UserError
from sites.stream import Turn
from sites.vault import versions_in
from sites.wire import Kind, Manifest

# The first turn of a run may release more than those after it.
TURNS = {"first": Turn(step=1, round=1, serial=1), "later": Turn(step=2, round=1, serial=2)}

Form = tuple[Kind | None, int]
Fields = Mapping[tuple[str, str, str], frozenset[Form]]
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What a method declares: kind and bytes of each field by event and purpose, and the groups of its vault.

    masked: the same of a site whose uploads are masked; nothing where the method does not merely sum them
    """

    fields: Fields
    masked: Fields
    vault: Mapping[str, Shapes]


def declared_in(root: Path) -> Declared | None:
    """Return what the method of a run declares; None where the method or its source is not at hand."""
    try:
        schedule = Store(root).schedule()
        _, contracts = agreed(schedule.as_json())
        vault = schedule.strategy.blank_vault(schedule.strategy_config, schedule.setting)
    except UserError:
        return None
    shapes = {group: {name: tuple(value.shape) for name, value in held.items()} for group, held in vault.items()}
    sums = schedule.strategy.sums(schedule.strategy_config) is not None
    return Declared(
        fields=_fields(contracts, masked=False), masked=_fields(contracts, masked=True) if sums else {}, vault=shapes
    )


def _fields(contracts: Contracts, *, masked: bool) -> Fields:
    fields: dict[tuple[str, str, str], frozenset[Form]] = {}
    for purpose in (*([Purpose.KEYS] if masked else []), Purpose.LEARN, Purpose.SCORE):
        for contract in (contracts.of(purpose, turn, masked=masked) for turn in TURNS.values()):
            roster = contract.roster.manifest if contract.roster else ()
            for event, manifest in (("release", contract.sent.manifest), ("received", contract.down.manifest + roster)):
                for field, found in _forms(manifest).items():
                    place = event, purpose.value, field
                    fields[place] = fields.get(place, frozenset()) | {found}
    return fields


def undeclared(site: SiteEvidence, declared: Declared) -> Iterator[Finding]:
    """Yield each field that left or came down otherwise than declared, and each group that is kept undeclared."""
    name = site.home.site
    fields = declared.fields if site.policy.secure_aggregation is None else declared.masked
    rows = {row.place: row for row in site.rows if row.event in ("release", "received") and not _fits(row, fields)}
    for row in rows.values():
        moved = "left" if row.event == "release" else "came down"
        sentence = (
            f"'{row.field}' of step {row.step}, round {row.round} ({row.purpose}) {moved} as {row.kind}, "
            f"{row.bytes:,} bytes, which the method does not declare."
        )
        turn = {"step": row.step, "round": row.round, "purpose": row.purpose, "field": row.field}
        yield Finding.model_validate({"site": name, "what": "undeclared", "sentence": sentence, **turn})
    for group in _strangers(versions_in(site.home.root / "vault"), declared):
        sentence = f"The vault holds '{group}', which the method does not declare, or not in this form."
        yield Finding(site=name, what="kept", sentence=sentence)


def _forms(manifest: Manifest) -> dict[str, Form]:
    fields = {leaf.field: leaf.kind for leaf in manifest}
    return {
        field: (kind, sum(leaf.nbytes for leaf in manifest if leaf.field == field)) for field, kind in fields.items()
    }


def _fits(row: Row, fields: Fields) -> bool:
    return (row.kind, row.bytes) in fields.get((row.event, row.purpose, row.field), frozenset())


def _strangers(versions: Sequence[Path], declared: Declared) -> list[str]:
    """Return the groups of a vault's versions that are not declared, each once."""
    groups = [path for version in versions for path in sorted(version.iterdir())]
    return list(dict.fromkeys(path.stem for path in groups if _shapes(path) != declared.vault.get(path.stem)))


def _shapes(path: Path) -> Shapes:
    with safe_open(path, framework="pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
