"""Whatever goes wrong at a site leaves as a bare code; its text stays in the site's own log."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
import yaml
from pydantic import BaseModel

from simulator.contract import Contract, Contracts, Purpose, Reply, Request, agreed
from simulator.schedule import Schedule, read_schedule
from simulator.site import Home, answer
from sites import sources
from sites.errors import DataGone, SourceError, WireError
from sites.gate import Code, Gate, Refused
from sites.ledger import Ledger, first_broken, read_rows
from sites.scoring import ScoreRequest
from sites.stream import Arrival, Case, Shape, SourceKind, Turn
from sites.vault import Vault, locked
from sites.wire import Kind, pack, unpack
from strategies import StrategyConfig, finetune
from strategies.setting import Setting

SECRET = "DOE^JANE-4711"
PATH = f"/mnt/pacs/{SECRET}/t2w.nii.gz"
LEARN = Turn(step=1, round=1, serial=1)


class Pacs:
    """A source whose patients are called by a name that must not leave; it counts how often it was read."""

    shape = Shape(channels=1, height=8, width=8, slices=1, structures=("gland",))
    sites = ("A", "B")

    def __init__(self) -> None:
        self.reads = 0
        self.unreadable = False

    def train(self, site: str, first: int, count: int) -> tuple[Case, ...]:
        self.reads += 1
        if self.unreadable:
            raise SourceError(f"{PATH}: is not an image")
        image = torch.linspace(0, 1, 64).reshape(1, 1, 8, 8)
        patients = (f"{PATH}#{number}" for number in range(first, first + count))
        masks = (image > 0.5).to(torch.uint8)
        return tuple(Case(patient=name, images=image, masks=masks, spacing=(3.0, 1.0, 1.0)) for name in patients)

    def held_out(self, site: str, count: int) -> tuple[Case, ...]:
        return self.train(site, 100, count)


class NoSettings(BaseModel):
    """The source has none."""


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


class Site:
    """Site A of a small schedule, in a folder of its own, and messages to it."""

    def __init__(self, folder: Path, source: Pacs, does: str = "well", **keys: Any) -> None:
        self.source = source
        self.home = Home(site="A", root=folder / "sites" / "A")
        path = folder / f"{does}.yaml"
        settings = {
            "name": "leaks",
            "task": "prostate",
            "source": "pacs",
            "arrivals": ["A", "B", "A"],
            "cases": {"train": 2, "held_out": 2},
            "strategy": {"name": __name__, "does": does},
            "network": {"widths": [4, 8], "residual_units": 0},
            "budget": {"iterations": 2, "batch": 2},
        }
        path.write_text(yaml.safe_dump({**settings, **keys}))
        self.schedule: Schedule = read_schedule(path)
        self.contracts = Contracts(self.schedule)

    def admit(self, *kinds: Kind, **policy: Any) -> None:
        self.home.root.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump({"admit": [str(kind) for kind in kinds], **policy})
        (self.home.root / "policy.yaml").write_text(text)

    def contract(self, purpose: Purpose) -> Contract:
        return self.contracts.of(purpose, LEARN)

    def request(self, purpose: Purpose = Purpose.LEARN, turn: Turn = LEARN, **changed: Any) -> Request:
        server = self.schedule.strategy.server(self.schedule.strategy_config, self.schedule.setting)
        segmenter = server.predictor("A").state_dict()
        down = {
            Purpose.LEARN: finetune.Broadcast(segmenter=segmenter),
            Purpose.SCORE: ScoreRequest(segmenter=segmenter),
        }[purpose]
        contract = self.contract(purpose)
        request = Request(
            purpose=purpose,
            turn=turn,
            schedule=self.schedule.as_json(),
            fingerprint=contract.fingerprint,
            body=pack(down, contract.down.manifest),
        )
        return replace(request, **changed)

    def answer(self, *args: Any, **changed: Any) -> Reply:
        return answer(self.request(*args, **changed), self.home)

    @property
    def log(self) -> str:
        return (self.home.root / "site.log").read_text(encoding="utf-8")

    @property
    def rows(self) -> list[dict[str, Any]]:
        return read_rows(self.home.root / "ledger.jsonl")

    @property
    def kept(self) -> dict[str, bytes]:
        """The bytes of every file in the vault."""
        root = self.home.root / "vault"
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Site]:
    """Return a function that makes a site whose policy admits segmenters and scores."""
    source = Pacs()
    kind = SourceKind(config=NoSettings, open=lambda task, config, seed: source)
    monkeypatch.setattr(sources, "load", lambda name: kind)
    agreed.cache_clear()

    def build(does: str = "well", **keys: Any) -> Site:
        site = Site(tmp_path, source, does, **keys)
        site.admit(Kind.SEGMENTER, Kind.SCORE)
        return site

    return build


@pytest.fixture
def consoles() -> Iterator[None]:
    """Give two loggers a console of their own, as MONAI and nibabel have: one that also tells the root, one not."""
    loggers = [logging.getLogger(name) for name in CONSOLES]
    handler = logging.StreamHandler(sys.stderr)
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    loggers[1].propagate = False
    yield
    for logger in loggers:
        logger.removeHandler(handler)


def test_what_a_site_learns_leaves_through_the_gate_and_what_it_keeps_stays(make: Callable[..., Site]) -> None:
    site = make()
    reply = site.answer()
    contract = site.contract(Purpose.LEARN)
    assert (reply.code, reply.site, reply.fingerprint) == (Code.OK, 0, contract.fingerprint)
    upload = unpack(contract.up.blank, contract.up.manifest, reply.body)
    assert upload.segmenter.keys() == contract.down.blank.segmenter.keys()  # type: ignore[attr-defined]
    assert [(row["event"], row["field"], row["step"]) for row in site.rows] == [
        ("received", "segmenter", 1),
        ("release", "segmenter", 1),
    ]
    assert site.rows[1]["bytes"] == sum(map(len, reply.body.values()))
    assert list(site.kept) == ["turn-000001/exemplars.safetensors"]


@pytest.mark.parametrize("does", FAILURES)
def test_a_failing_strategy_tells_nothing_but_a_code(
    does: str, make: Callable[..., Site], capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    site = make(does)
    earlier = Vault(site.home.root / "vault", 0)
    earlier.keep("model", {"x": torch.ones(1)})
    earlier.commit()
    before = site.kept
    reply = site.answer()
    shown = capfd.readouterr()
    _, told, code = FAILURES[does]

    assert reply == Reply(code=code, site=0, fingerprint="")
    assert type(reply.code) is Code
    assert (shown.out, shown.err, caplog.text) == ("", "", "")
    assert (SECRET in site.log) == told
    assert "Traceback" in site.log
    assert {key: site.rows[-1][key] for key in ("event", "purpose", "step", "code")} == {
        "event": "refusal",
        "purpose": "learn",
        "step": 1,
        "code": code.name,
    }
    assert SECRET not in json.dumps(site.rows)
    assert first_broken(site.rows) is None
    assert site.kept == before
    assert before.keys() == {"turn-000000/model.safetensors"}


@pytest.mark.usefixtures("consoles")
def test_a_talking_strategy_is_heard_in_the_sites_log_alone(
    make: Callable[..., Site],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def as_python_does(*args: Any) -> None:
        print(warnings.formatwarning(*args[:4]), file=sys.stderr)

    site = make("talks")
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        monkeypatch.setattr(warnings, "showwarning", as_python_does)
        reply = site.answer()
    shown = capfd.readouterr()
    assert reply.code is Code.OK
    assert (shown.out, shown.err, caplog.text) == ("", "", "")
    for channel in ("print", "error", "root", "plain", *CONSOLES, "warning"):
        assert f"{channel}: {PATH}" in site.log


@pytest.mark.usefixtures("consoles")
@pytest.mark.parametrize("does", ["well", "raises", "takes the streams back", "interrupts"])
def test_after_a_message_the_driver_has_its_streams_and_loggers_back(does: str, make: Callable[..., Site]) -> None:
    def ends() -> tuple[Any, ...]:
        loggers = [logging.getLogger(name) for name in (None, *CONSOLES)]
        return sys.stdout, sys.stderr, *(list(logger.handlers) for logger in loggers)

    site = make(does)
    before = ends()
    try:
        site.answer()
    except KeyboardInterrupt:
        assert does == "interrupts"
    assert ends() == before


def test_an_interrupt_of_the_run_passes_through_and_leaves_the_vault_as_it_was(make: Callable[..., Site]) -> None:
    site = make("interrupts")
    with pytest.raises(KeyboardInterrupt):
        site.answer()
    assert site.kept == {}
    assert "release" not in {row["event"] for row in site.rows}


def test_a_site_holds_to_the_first_schedule_that_it_was_sent(make: Callable[..., Site]) -> None:
    assert make("well").answer().code is Code.OK
    other = make("well", arrivals=["A", "B"])
    before = other.source.reads
    assert other.answer().code is Code.BAD_REQUEST
    assert other.source.reads == before


def test_another_fingerprint_is_a_bad_request_and_no_data_are_read(make: Callable[..., Site]) -> None:
    site = make()
    assert site.answer(fingerprint="0123456789abcdef").code is Code.BAD_REQUEST
    assert site.source.reads == 0
    assert [row["event"] for row in site.rows] == ["refusal"]


@pytest.mark.parametrize("data", [b"", b"\0" * 3])
def test_a_message_of_another_length_is_a_bad_request_and_no_data_are_read(
    data: bytes, make: Callable[..., Site]
) -> None:
    site = make()
    body = dict(site.request().body)
    body[next(iter(body))] = data
    assert site.answer(body=body).code is Code.BAD_REQUEST
    assert site.source.reads == 0


def test_a_site_without_a_policy_lets_nothing_out_and_reads_no_data(make: Callable[..., Site]) -> None:
    site = make()
    (site.home.root / "policy.yaml").unlink()
    for purpose in (Purpose.LEARN, Purpose.SCORE):
        assert site.answer(purpose) == Reply(code=Code.KIND_NOT_ADMITTED, site=0, fingerprint="")
    assert site.source.reads == 0
    assert site.kept == {}
    assert [(row["event"], row["purpose"], row["code"]) for row in site.rows] == [
        ("refusal", "learn", "KIND_NOT_ADMITTED"),
        ("refusal", "score", "KIND_NOT_ADMITTED"),
    ]


def test_a_policy_is_the_sites_own_and_not_the_schedules(make: Callable[..., Site]) -> None:
    site = make(policy="reference-only")
    site.admit(Kind.SCORE)
    assert site.answer().code is Code.KIND_NOT_ADMITTED
    assert site.answer(Purpose.SCORE).code is Code.OK


@pytest.mark.parametrize("text", ["admit: [text]", "admit: segmenter", "admit: [segmenter]\nbudget: 3", "]", ""])
def test_a_policy_that_cannot_be_read_lets_nothing_out_and_reads_no_data(text: str, make: Callable[..., Site]) -> None:
    site = make()
    (site.home.root / "policy.yaml").write_text(text)
    assert site.answer() == Reply(code=Code.SITE_ERROR, site=0, fingerprint="")
    assert site.source.reads == 0


def test_a_budget_that_is_spent_stops_every_further_release(make: Callable[..., Site]) -> None:
    site = make()
    size = sum(leaf.nbytes for leaf in site.contract(Purpose.LEARN).up.manifest)
    site.admit(Kind.SEGMENTER, Kind.SCORE, byte_budget=size)
    assert site.answer().code is Code.OK
    kept = site.kept
    assert site.answer(turn=Turn(step=1, round=2, serial=2)).code is Code.OVER_BUDGET
    assert site.answer(Purpose.SCORE).code is Code.OVER_BUDGET
    assert site.kept == kept


@pytest.mark.parametrize("step", [-1, 0, 2, 99])
def test_data_that_the_site_does_not_hold_are_gone(step: int, make: Callable[..., Site]) -> None:
    site = make()
    assert site.answer(turn=Turn(step=step, round=1, serial=1)).code is Code.DATA_GONE
    assert site.source.reads == 0
    assert site.rows[-1]["code"] == "DATA_GONE"


def test_data_that_a_site_has_left_behind_are_gone(make: Callable[..., Site]) -> None:
    site = make()
    assert site.answer(turn=Turn(step=3, round=1, serial=5)).code is Code.OK
    assert site.answer().code is Code.DATA_GONE


def test_data_that_cannot_be_read_are_named_in_the_log_alone(
    make: Callable[..., Site], capfd: pytest.CaptureFixture[str]
) -> None:
    site = make()
    site.source.unreadable = True
    for purpose in (Purpose.LEARN, Purpose.SCORE):
        assert site.answer(purpose) == Reply(code=Code.DATA_UNREADABLE, site=0, fingerprint="")
    assert capfd.readouterr() == ("", "")
    assert SECRET in site.log


@pytest.mark.parametrize("schedule", ["", "{", "[]", "{}", "null", '{"strategy": "/mnt/pacs/DOE^JANE-4711"}'])
def test_a_schedule_that_makes_no_sense_is_answered_by_a_code(
    schedule: str, make: Callable[..., Site], capfd: pytest.CaptureFixture[str]
) -> None:
    site = make()
    assert site.answer(schedule=schedule) == Reply(code=Code.SITE_ERROR, site=-1, fingerprint="")
    assert capfd.readouterr() == ("", "")


def test_a_site_that_is_not_in_the_schedule_does_nothing(make: Callable[..., Site], tmp_path: Path) -> None:
    site = make()
    stranger = Home(site="Z", root=tmp_path / "Z")
    assert answer(site.request(), stranger) == Reply(code=Code.SITE_ERROR, site=-1, fingerprint="")
    assert site.source.reads == 0


def test_a_site_at_work_is_busy_and_its_ledger_is_left_alone(make: Callable[..., Site]) -> None:
    site = make()
    with locked(site.home.root):
        assert site.answer() == Reply(code=Code.BUSY, site=0, fingerprint="")
    assert site.rows == []
    assert site.answer().code is Code.OK


def test_a_site_says_its_place_and_no_more_to_a_greeting(make: Callable[..., Site]) -> None:
    site = make()
    request = replace(site.request(), purpose=Purpose.HELLO, body={}, fingerprint="")
    assert answer(request, site.home) == Reply(code=Code.OK, site=0, fingerprint="")
    assert site.source.reads == 0
    assert site.rows == []


def test_scores_leave_and_the_vault_is_left_alone(make: Callable[..., Site]) -> None:
    site = make()
    site.answer()
    kept = site.kept
    reply = site.answer(Purpose.SCORE, Turn(step=0, round=0, serial=0))
    contract = site.contract(Purpose.SCORE)
    scores = unpack(contract.up.blank, contract.up.manifest, reply.body)
    assert scores.held.tolist() == [2]  # type: ignore[attr-defined]
    assert site.kept == kept
    assert [(row["event"], row["purpose"], row["field"]) for row in site.rows[2:]] == [
        ("received", "score", "segmenter"),
        ("release", "score", "values"),
        ("release", "score", "held"),
    ]


def test_a_message_answered_again_gets_the_same_bytes(make: Callable[..., Site]) -> None:
    site = make()
    first, kept = site.answer(), site.kept
    torch.manual_seed(99)
    assert site.answer() == first
    assert site.kept == kept


def test_a_site_whose_log_cannot_be_written_does_nothing(
    make: Callable[..., Site], capfd: pytest.CaptureFixture[str]
) -> None:
    site = make("raises")
    (site.home.root / "site.log").mkdir()
    assert site.answer() == Reply(code=Code.SITE_ERROR, site=-1, fingerprint="")
    assert site.source.reads == 0
    assert capfd.readouterr() == ("", "")


def test_a_release_that_cannot_be_written_down_does_not_leave(
    make: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make()
    site.answer()
    kept = site.kept

    def full(self: Ledger, rows: Any) -> None:
        raise OSError(28, "No space left on device", PATH)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "append", full)
        assert site.answer(turn=Turn(step=1, round=2, serial=2)) == Reply(code=Code.SITE_ERROR, site=0, fingerprint="")
    assert site.kept == kept


def test_the_gate_writes_down_before_the_vault_changes(
    make: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def noting(kind: type, name: str) -> None:
        real = getattr(kind, name)
        monkeypatch.setattr(kind, name, lambda *args, **named: (order.append(name), real(*args, **named))[1])

    noting(Gate, "release")
    noting(Vault, "commit")
    assert make().answer().code is Code.OK
    assert order == ["release", "commit"]


def test_the_log_is_the_sites_and_survives_a_second_message(make: Callable[..., Site]) -> None:
    site = make("raises")
    site.answer()
    site.answer()
    assert site.log.count(f"RuntimeError: {PATH}#0") == 2
    assert [path.name for path in site.home.root.parent.iterdir()] == ["A"]
