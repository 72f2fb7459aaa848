"""A strategy that does whatever its setting says with a patient's path, and all that it can do wrong."""

from __future__ import annotations

import asyncio
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NoReturn

import torch

from sites.errors import DataGone, WireError
from sites.gate import Code, Refused
from sites.stream import Arrival
from sites.vault import Vault
from strategies import StrategyConfig, finetune
from strategies.setting import Setting

SECRET = "DOE^JANE-4711"
PATH = f"/mnt/pacs/{SECRET}/t2w.nii.gz"


class Config(StrategyConfig):
    """What the strategy below does with the data it gets."""

    does: str = "well"


class Unspeakable(Exception):
    """Fails while its text is asked for."""

    def __str__(self) -> str:
        raise RuntimeError(PATH)


class Cancelled(BaseException):
    """Is no `Exception`, as a library's cancellation is none."""


class Torn(dict[str, torch.Tensor]):
    """Weights that fail while the gate reads them."""

    def items(self) -> NoReturn:
        raise Refused(Code.OK)


def learn(config: Config, setting: Setting, down: finetune.Broadcast, arrival: Arrival, vault: Vault) -> Any:
    """Shake the segmenter, keep the images, and do one thing that must do no harm."""
    vault.keep("exemplars", {"images": arrival.cases[0].images})
    shaken = {name: tensor + torch.rand(()).to(tensor.dtype) for name, tensor in down.segmenter.items()}
    upload = finetune.Upload(segmenter=shaken)
    return BEHAVIOURS[config.does](arrival.cases[0].patient, upload)


def raises(error: Callable[[str], BaseException]) -> Callable[[str, finetune.Upload], NoReturn]:
    def behave(patient: str, _: finetune.Upload) -> NoReturn:
        raise error(patient)

    return behave


def with_first(change: Callable[[torch.Tensor, str], Any]) -> Callable[[str, finetune.Upload], finetune.Upload]:
    """Return a behaviour that changes the first tensor of the upload."""

    def behave(patient: str, upload: finetune.Upload) -> finetune.Upload:
        name = next(iter(upload.segmenter))
        weights = dict(upload.segmenter)
        return replace(upload, segmenter={**weights, name: change(weights[name], patient)})

    return behave


def talks(patient: str, upload: finetune.Upload) -> finetune.Upload:
    print("print:", patient)
    print("error:", patient, file=sys.stderr)
    logging.error("root: %s", patient)
    logging.getLogger("wardround.tests.plain").warning("plain: %s", patient)
    for name in CONSOLES:
        logging.getLogger(name).info("%s: %s", name, patient)
    warnings.warn(f"warning: {patient}", stacklevel=1)
    return upload


def takes_streams_back(patient: str, _: finetune.Upload) -> NoReturn:
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    logging.basicConfig(force=True, stream=sys.__stderr__)
    raise RuntimeError(patient)


def raises_in_a_row(patient: str, _: finetune.Upload) -> NoReturn:
    try:
        raise OSError(patient)
    except OSError as error:
        raise ValueError("can't be read") from error


def hangs_on(patient: str, upload: finetune.Upload) -> finetune.Upload:
    object.__setattr__(upload, "patient", patient)
    return upload


def yields(patient: str, upload: finetune.Upload) -> Iterator[finetune.Upload]:
    print(patient)
    yield upload


def refuses_with(code: Any) -> Callable[[str], Refused]:
    def make(patient: str) -> Refused:
        error = Refused(Code.BUSY)
        error.code = patient if code is str else code
        error.add_note(patient)
        return error

    return make


# What a strategy does with a patient's path, whether it is told in the site's log, and the code that leaves.
FAILURES: dict[str, tuple[Callable[[str, finetune.Upload], Any], bool, Code]] = {
    "raises": (raises(RuntimeError), True, Code.SITE_ERROR),
    "raises in a row": (raises_in_a_row, True, Code.SITE_ERROR),
    "raises a name that is not UTF-8": (raises(lambda p: OSError(f"{p}\udcff")), True, Code.SITE_ERROR),
    "raises the unspeakable": (raises(lambda p: Unspeakable()), False, Code.SITE_ERROR),
    "exits": (raises(SystemExit), True, Code.SITE_ERROR),
    "cancels": (raises(asyncio.CancelledError), True, Code.SITE_ERROR),
    "raises no exception": (raises(Cancelled), True, Code.SITE_ERROR),
    "closes": (raises(GeneratorExit), True, Code.SITE_ERROR),
    "takes the streams back": (takes_streams_back, True, Code.SITE_ERROR),
    "pretends that the data are gone": (raises(DataGone), True, Code.DATA_GONE),
    "pretends that the message was bad": (raises(WireError), True, Code.BAD_REQUEST),
    "pretends that all is well": (raises(refuses_with(Code.OK)), True, Code.SITE_ERROR),
    "refuses with a text": (raises(refuses_with(str)), True, Code.SITE_ERROR),
    "refuses with a number": (raises(refuses_with(4711)), True, Code.SITE_ERROR),
    "returns a text": (lambda p, up: p, False, Code.NOT_AS_DECLARED),
    "returns nothing": (lambda p, up: None, False, Code.NOT_AS_DECLARED),
    "returns what came down": (lambda p, up: finetune.Broadcast(**vars(up)), False, Code.NOT_AS_DECLARED),
    "returns a generator": (yields, False, Code.NOT_AS_DECLARED),
    "puts a text into the weights": (with_first(lambda t, p: p), False, Code.NOT_AS_DECLARED),
    "puts a longer tensor in": (with_first(lambda t, p: torch.cat([t, t])), False, Code.NOT_AS_DECLARED),
    "puts doubles in": (with_first(lambda t, p: t.double()), False, Code.NOT_AS_DECLARED),
    "names a tensor after the patient": (
        lambda p, up: replace(up, segmenter={**up.segmenter, p: torch.zeros(1)}),
        False,
        Code.NOT_AS_DECLARED,
    ),
    "hangs the patient onto the payload": (hangs_on, False, Code.NOT_AS_DECLARED),
    "diverges": (with_first(lambda t, p: t * float("nan")), False, Code.NOT_FINITE),
    "fails while the gate reads": (lambda p, up: replace(up, segmenter=Torn()), False, Code.SITE_ERROR),
}
BEHAVIOURS: dict[str, Callable[[str, finetune.Upload], Any]] = {
    "well": lambda p, up: up,
    "talks": talks,
    "interrupts": raises(lambda p: KeyboardInterrupt()),
    **{name: behave for name, (behave, _, _) in FAILURES.items()},
}
STRATEGY = replace(finetune.STRATEGY, config=Config, learn=learn)
CONSOLES = ("wardround.tests.console", "wardround.tests.own")
