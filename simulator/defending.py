"""Makes sure before a run that the sites' policies admit what is released, and that their defences can be kept to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sites.defences import without_start
from sites.errors import ConfigError
from sites.gate import SitePolicy
from sites.wire import Kind, Manifest, manifest_of, unpack
from strategies import known, load
from strategies.common.segmenter import build_segmenter

if TYPE_CHECKING:
    from simulator.schedule import Schedule


def check_policies(schedule: Schedule) -> None:
    """Raise `ConfigError` where a site that arrives does not admit a release, or asks for what can't be kept to."""
    upload = manifest_of(schedule.strategy.blank_upload(schedule.strategy_config, schedule.setting, True))
    for site in schedule.timeline.seen:
        name = schedule.config.site_policies.get(site, schedule.config.policy)
        if refused := schedule.policies[site].refused_kinds(upload):
            raise ConfigError(
                f"{schedule.path}: policy: '{name}' of site '{site}' does not admit {', '.join(refused)}, which "
                f"strategy '{schedule.config.strategy.name}' releases; choose another strategy or policy"
            )
        if fault := undefended(schedule, site):
            raise ConfigError(f"{schedule.path}: policy: '{name}' of site '{site}' {fault}")


def undefended(schedule: Schedule, site: str) -> str:
    """Say which defence of a site can't be kept to and why, to follow the policy's name; "" where there is none."""
    upload = manifest_of(schedule.strategy.blank_upload(schedule.strategy_config, schedule.setting, True))
    return next(_faults(schedule, schedule.policies[site], site, upload), "")


def _faults(schedule: Schedule, policy: SitePolicy, site: str, upload: Manifest) -> Iterator[str]:
    strategy, config, name = schedule.strategy, schedule.strategy_config, schedule.config.strategy.name
    if policy.dp_sgd is not None and not strategy.trains_privately(config):
        yield (
            f"asks for DP-SGD (dp_sgd), which strategy '{name}' does not keep to with these settings; "
            f"choose another policy, or one of {', '.join(_private())}"
        )
    if policy.dp_sgd is not None and any(leaf.kind is Kind.SEGMENTER for leaf in upload):
        from opacus.validators import ModuleValidator

        if ModuleValidator.validate(build_segmenter(schedule.setting), strict=False):
            yield (
                "asks for DP-SGD (dp_sgd), but batch norm mixes patients, so that none can be protected by itself; "
                "set network.norm: instance"
            )
    if policy.clip is not None:
        form = strategy.blank_broadcast(config, schedule.setting)
        manifest = manifest_of(form)
        down = unpack(form, manifest, {leaf.key: bytes(leaf.nbytes) for leaf in manifest})
        start = strategy.start(config, schedule.setting, down, site)
        if unknown := {leaf.field for leaf in without_start(upload, start)}:
            yield (
                f"bounds the change of weights (clip), but strategy '{name}' does not say what its "
                f"{', '.join(sorted(unknown))} began as; choose another strategy or policy"
            )


def _private() -> list[str]:
    return [name for name in known() if (found := load(name)).trains_privately(found.config())]
