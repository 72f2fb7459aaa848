"""Makes sure before a run that the sites' policies admit what is released, and that their defences can be kept to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from sites.defences import without_start
from sites.errors import ConfigError
from sites.policy import SitePolicy
from sites.wire import Kind, manifest_of, unpack
from strategies import Strategy, known, load
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


def masked(schedule: Schedule) -> bool:
    """Whether uploads leave masked, by the policies of the sites that arrive."""
    asking = any(schedule.policies[site].secure_aggregation for site in schedule.timeline.seen)
    return asking and schedule.strategy.sums(schedule.strategy_config) is not None


def undefended(schedule: Schedule, site: str) -> str:
    """Say which defence of a site can't be kept to and why, to follow the policy's name; "" where there is none."""
    return next(_faults(schedule, schedule.policies[site], site), "")


def _faults(schedule: Schedule, policy: SitePolicy, site: str) -> Iterator[str]:
    strategy, config, name = schedule.strategy, schedule.strategy_config, schedule.config.strategy.name
    if policy.secure_aggregation is not None:
        yield from _unsummed(schedule, site, policy.secure_aggregation.least)
    if policy.dp_sgd is None and policy.clip is None:
        return
    upload = manifest_of(strategy.blank_upload(config, schedule.setting, True))
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


def _unsummed(schedule: Schedule, site: str, least: int) -> Iterator[str]:
    """Yield why a site's uploads can't be read as a sum alone: by the strategy, or by who is in a sum with it."""
    asks = "asks that no upload can be read but in a sum (secure_aggregation)"
    if schedule.strategy.sums(schedule.strategy_config) is None:
        yield (
            f"{asks}, but strategy '{schedule.config.strategy.name}' looks at single ones with these settings; choose "
            f"another policy, or one of {', '.join(_named(lambda found: found.sums(found.config()) is not None))}"
        )
        return
    server = schedule.new_server()
    for step in schedule.timeline.steps:
        for group in server.rota(step.arriving, step.online):
            others = [other for other in group if schedule.policies[other].secure_aggregation is None]
            if site in group and others:
                yield (
                    f"{asks}, but {', '.join(others)}, learning at the same time in step {step.number}, has a policy "
                    "that does not; set secure_aggregation for all sites that learn together, or for none"
                )
            if site in group and len(group) < least:
                yield (
                    f"{asks} of at least {least} sites, but in step {step.number} {' and '.join(group)} "
                    f"learn{'s alone' if len(group) == 1 else ' by themselves'}; have more sites arrive together or "
                    "stay online, or set another policy"
                )


def _private() -> list[str]:
    return _named(lambda found: found.trains_privately(found.config()))


def _named(fits: Callable[[Strategy[Any, Any, Any]], bool]) -> list[str]:
    return [name for name in known() if fits(load(name))]
