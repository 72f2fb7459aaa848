"""What is learnt: one file per method, both of its sides in it. This is the seam that each file fills."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoints, entry_points
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from sites.errors import ConfigError
from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Payload, Weights, leaves_of
from strategies.setting import Setting

if TYPE_CHECKING:
    from strategies.common.diffusion import Generator

C = TypeVar("C", bound="StrategyConfig")
Down = TypeVar("Down", bound=Payload)
Up = TypeVar("Up", bound=Payload)

State = dict[str, Tensor]

SEAM = ("common", "setting")

Family = Literal["bound", "continual", "generalization", "federated", "replay", "smdr"]


class StrategyConfig(BaseModel):
    """Base of every strategy's settings: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, kw_only=True)
class Diagnostic:
    """One number that a server measured while it absorbed: `index` counts those of one name and site from 0."""

    name: str
    site: str
    index: int
    value: float


class Server(ABC, Generic[Down, Up]):
    """The central side of a strategy; lives as long as the run."""

    def rota(self, arriving: tuple[str, ...], online: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Return the groups of sites that learn in a round: within a group at the same time, group after group.

        `arriving` are the sites whose data come in with this step, `online` all that hold data now (the arriving
        ones included). Unless a strategy says otherwise, the arriving sites learn at the same time.
        """
        return (arriving,)

    @abstractmethod
    def broadcast(self, site: str, step: int) -> Down:
        """Return what goes down to a site before it learns."""

    @abstractmethod
    def absorb(self, uploads: Mapping[str, Up], step: int) -> None:
        """Take in what a group of sites released, in the order of the rota."""

    def diagnostics(self) -> Sequence[Diagnostic]:
        """Return what the last `absorb` measured on its way, to be kept in the run folder; nothing unless said."""
        return ()

    def replays(self, count: int) -> Mapping[str, tuple[Tensor, Tensor]]:
        """Return `count` pairs like those of each past site; nothing from a strategy that can't make any.

        Images are float32 [count, C, H, W] in 0..1, masks uint8 [count, S, H, W].
        """
        return {}

    def generators(self) -> Mapping[str, Generator]:
        """Return each past site's generator as its releases make it; nothing from a strategy that has none.

        Those who measure exposure attack these.
        """
        return {}

    @abstractmethod
    def predictor(self, site: str) -> nn.Module:
        """Return the segmenter as it stands for a site: images [N, C, H, W] in 0..1 to logits [N, S, H, W].

        Most strategies have one for all sites. The site may be an unseen one.
        """

    @abstractmethod
    def state_dict(self) -> State:
        """Return all that a resumed run needs."""

    @abstractmethod
    def load_state_dict(self, state: State) -> None:
        """Take back what `state_dict` returned."""


def nothing_kept(config: StrategyConfig, setting: Setting) -> Mapping[str, Weights]:
    """Return an empty vault."""
    return {}


def as_sent(config: StrategyConfig, setting: Setting, weights: Weights, images: Tensor, vault: Vault) -> Weights:
    """Return the segmenter as the server sent it."""
    return weights


def as_broadcast(config: StrategyConfig, setting: Setting, down: Payload, site: str) -> Mapping[str, Tensor]:
    """Return that weights began as those that came down under the same names."""
    return leaves_of(down)


def always(config: StrategyConfig) -> bool:
    """Say yes, whatever the settings."""
    return True


def never(config: StrategyConfig) -> bool:
    """Say no, whatever the settings."""
    return False


@dataclass(frozen=True, kw_only=True)
class Sum:
    """That a server asks no more of a group's uploads than their mean.

    weight: the upload's count (a single one) by which a site counts in it, None where all sites count alike
    """

    weight: str | None


def unsummed(config: StrategyConfig) -> None:
    """Say that the server looks at single uploads."""


def summed_by_cases(config: StrategyConfig) -> Sum:
    """Say that the server asks for the mean by the upload's number of `cases`, whatever the settings."""
    return Sum(weight="cases")


# Makes a number of images (float32 [N, C, H, W] in 0..1) from a seed's noise.
ImageMaker = Callable[[int, int], Tensor]


def no_images(config: StrategyConfig, setting: Setting, down: Payload, up: Payload, site: str) -> None:
    """Say that no images can be made of what leaves."""


@dataclass(frozen=True, kw_only=True)
class Strategy(Generic[C, Down, Up]):
    """What a strategy's file holds as STRATEGY.

    `learn` runs in the site's process; it is a plain function, since any process may serve any site: what a site
    keeps between turns is in its vault. The blanks are built without data, so that names, dtypes and shapes on
    the wire can't depend on a patient; `blank_upload` is also told whether this is the first turn of the run, since
    the first site may have more to release than those after it. `family` says what kind of method it is.

    `at_home` is called at a site before it is scored: it may put what the site kept in its vault into the segmenter
    that came down, or fit that to the site's held-out images (float32 [N, C, H, W], without labels). `blank_vault` is
    what a site keeps between turns, by group, without values: for those who ask before they take part.

    `remake` is called at a site whose policy guards against copies, before its release: it returns what makes images
    as a receiver could of what came down and what is about to leave (None: no images can be made of it).

    `start` is called at a site whose policy bounds what a release may change, before its data are read: it says what
    the weights of an upload begin as, by leaf key, given what came down and the site's name. `trains_privately` says
    whether, with given settings, nothing in `learn` looks at patients but `train_on_arrival` and `learn_prompt`, which
    keep to the DP-SGD of a site's policy; other strategies are refused where a policy asks for it.

    `sums` says that, with given settings, all that the server needs of a group's uploads is their mean. Where policies
    ask for secure aggregation, `absorb` gets one upload in the place of all: every field is the weighted mean, and the
    weight the sum. Strategies that don't say so are refused where a policy asks for it.
    """

    config: type[C]
    server: Callable[[C, Setting], Server[Down, Up]]
    learn: Callable[[C, Setting, Down, Arrival, Vault], Up]
    blank_broadcast: Callable[[C, Setting], Down]
    blank_upload: Callable[[C, Setting, bool], Up]
    family: Family
    at_home: Callable[[C, Setting, Weights, Tensor, Vault], Weights] = as_sent
    blank_vault: Callable[[C, Setting], Mapping[str, Weights]] = nothing_kept
    remake: Callable[[C, Setting, Down, Up, str], ImageMaker | None] = no_images
    start: Callable[[C, Setting, Down, str], Mapping[str, Tensor]] = as_broadcast
    trains_privately: Callable[[C], bool] = never
    sums: Callable[[C], Sum | None] = unsummed


# Every file beside this one is a strategy but the seam's own.
STRATEGY_FILES = tuple(module.name for module in pkgutil.iter_modules(__path__) if module.name not in SEAM)


def known() -> tuple[str, ...]:
    """Return the names of the strategies at hand: the files of this package, and installed entry points."""
    return tuple(sorted({*STRATEGY_FILES, *_installed().names}))


def load(name: str) -> Strategy[Any, Any, Any]:
    """Return a strategy by the name of its file, of an entry point, or by a dotted module name.

    Raises `ConfigError` where there is none, with the nearest name.
    """
    points = _installed().select(name=name)
    module = f"strategies.{name}" if name in known() else name
    if "." not in module:
        near = difflib.get_close_matches(name, known(), n=1)
        hint = f"; did you mean '{near[0]}'?" if near else f"; there are {', '.join(known())}"
        raise ConfigError(f"there is no strategy '{name}'{hint}")
    try:
        found = next(iter(points)).load() if points else importlib.import_module(module).STRATEGY
    except (ModuleNotFoundError, AttributeError) as error:
        raise ConfigError(f"strategy '{name}' can't be loaded: {error}") from error
    if not isinstance(found, Strategy):
        raise ConfigError(f"strategy '{name}': its STRATEGY is not a strategies.Strategy")
    return found


@cache
def _installed() -> EntryPoints:
    """Return the strategies that other distributions offer; looking them up reads every installed one's metadata."""
    return entry_points(group="wardround.strategies")
