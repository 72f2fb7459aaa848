"""Makes sure before a run that the defences which the sites' policies ask for can be kept."""

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


def check_defences(schedule: Schedule) -> None:
    """Raise `ConfigError` where a site that arrives asks for a defence that its strategy or network can't keep to."""
    upload = manifest_of(schedule.strategy.blank_upload(schedule.strategy_config, schedule.setting, True))
    for site in schedule.timeline.seen:
        if fault := next(_faults(schedule, site, schedule.policies[site], upload), None):
            name = schedule.config.site_policies.get(site, schedule.config.policy)
            raise ConfigError(f"{schedule.path}: policy: '{name}' of site '{site}' {fault}")


def _faults(schedule: Schedule, site: str, policy: SitePolicy, upload: Manifest) -> Iterator[str]:
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
