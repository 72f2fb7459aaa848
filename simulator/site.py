"""A site at work: it answers one message, and whatever goes wrong there leaves as a bare code."""

from __future__ import annotations

import hashlib
import logging
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from torch import Tensor

from simulator.agreeing import agree, own_key
from simulator.contract import Contracts, Purpose, Reply, Request, agreed
from simulator.document import Document
from simulator.schedule import Schedule
from sites.errors import DataGone, SourceError, WireError
from sites.files import write_whole
from sites.gate import Code, Gate, Refused
from sites.ledger import Ledger
from sites.policy import SitePolicy
from sites.scoring import score_cases
from sites.sealing import Seal, seal_of
from sites.secret import Secret, kept_secret
from sites.seeds import seed_of, seeded
from sites.stream import Arrival, SiteStream, Turn
from sites.vault import Vault, locked
from sites.wire import Payload, digest_of_body
from strategies import ImageMaker
from strategies.common.segmenter import build_segmenter, slices_of


@dataclass(frozen=True, kw_only=True)
class Home:
    """A site's name and its private folder: `policy.yaml`, `ledger.jsonl`, `seal.json`, `site.log`, `vault/`, pins.

    Where the policy asks for noise or masks, the secret that they come from is there as well: `secret`.
    """

    site: str
    root: Path

    def policy(self) -> SitePolicy:
        """Return the site's own policy; where it has none, nothing is admitted."""
        path = self.root / "policy.yaml"
        if not path.exists():
            return SitePolicy(admit=())
        document = Document.read(path)
        return document.validated(SitePolicy, document.data)

    def secret(self, policy: SitePolicy, seed: int) -> Secret | None:
        """Return the site's secret, where its policy has a use for it; `seed` tells one simulated run from another."""
        if not policy.needs_secret:
            return None
        return kept_secret(self.root / "secret", policy.simulated_secret, self.site, seed)

    def seal(self) -> Seal:
        """Seal the ledger as it stands: the seal stays in `seal.json`, and is returned for the server to keep."""
        seal = seal_of(self.root / "ledger.jsonl", self.root / "policy.yaml")
        write_whole(self.root / "seal.json", seal.model_dump_json() + "\n")
        return seal


def answer(request: Request, home: Home) -> Reply:
    """Do what a message asks, and return what may leave. Never raises for what goes wrong at the site."""
    try:
        with _private_output(home) as log:
            return _answer(request, home, log)
    except Exception:  # the log itself can't be written
        return Reply(code=Code.SITE_ERROR, site=-1, fingerprint="")


def _answer(request: Request, home: Home, log: TextIO) -> Reply:
    position = -1
    try:
        schedule, contracts = agreed(request.schedule)
        position = schedule.timeline.sites.index(home.site)
        if request.purpose is Purpose.HELLO:
            return Reply(code=Code.OK, site=position, fingerprint="")
        with locked(home.root):
            return _work(request, home, schedule, contracts, position)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # an exit or a cancellation carries a text as well
        traceback.print_exc(file=log)
        return Reply(code=_code_of(error), site=position, fingerprint="")


def _work(request: Request, home: Home, schedule: Schedule, contracts: Contracts, position: int) -> Reply:
    """Unpack what came down, learn or score, and pass the result through the gate."""
    policy, turn, purpose = home.policy(), request.turn, request.purpose
    secret = home.secret(policy, schedule.config.seed)
    gate = Gate(policy, Ledger(home.root / "ledger.jsonl"), secret)
    try:
        _hold_to(request.schedule, home)
        contract = contracts.of(purpose, turn, masked=policy.secure_aggregation is not None)
        if request.fingerprint != contract.fingerprint:
            raise Refused(Code.BAD_REQUEST)
        gate.admit(contract.up.manifest)
        body, listed = contract.parted(request.body)
        down = contract.down.opened(body)
        gate.received(body, contract.down.manifest, turn, purpose)
        vault = Vault(home.root / "vault", turn.serial)
        start: Mapping[str, Tensor] = {}
        received, masks = digest_of_body(body), None
        if contract.roster is not None:
            roster = contract.roster.opened(listed)
            gate.received(listed, contract.roster.manifest, turn, purpose)
            masks = agree(schedule, policy, secret, turn, roster=roster, own=position, down=received)
        up: Payload
        if purpose is Purpose.KEYS:
            up = own_key(policy, secret, turn)
        elif purpose is Purpose.LEARN:
            start = _start(policy, schedule, down, home.site)
            up = _learn(turn, home, schedule, gate, down=down, received=received, vault=vault)
        else:
            up = _score(home, schedule, down, vault)
        form = contract.up
        leaving = gate.release(up, form.blank, form.manifest, turn, purpose, start=start, masks=masks)
        if purpose is Purpose.LEARN:
            vault.commit()
    except BaseException as error:
        gate.refuse(_code_of(error), turn, purpose)
        raise
    return Reply(code=Code.OK, site=position, fingerprint=contract.fingerprint, body=leaving)


def _hold_to(schedule_json: str, home: Home) -> None:
    """Refuse any schedule but the first: another one could bring back cases whose step is over."""
    digest, first = hashlib.sha256(schedule_json.encode()).hexdigest(), home.root / "schedule.sha256"
    if not first.exists():
        write_whole(first, digest)
    elif first.read_text() != digest:
        raise Refused(Code.BAD_REQUEST)


def _start(policy: SitePolicy, schedule: Schedule, down: Payload, site: str) -> Mapping[str, Tensor]:
    """Return what the weights begin as, where the policy bounds their change; no data have been read by then.

    Raises `Refused` where the policy asks for DP-SGD and the strategy does not keep to it.
    """
    strategy, config = schedule.strategy, schedule.strategy_config
    if policy.dp_sgd is not None and not strategy.trains_privately(config):
        raise Refused(Code.UNDEFENDED)
    return {} if policy.clip is None else strategy.start(config, schedule.setting, down, site)


def _learn(
    turn: Turn, home: Home, schedule: Schedule, gate: Gate, *, down: Payload, received: str, vault: Vault
) -> Payload:
    strategy, config, setting = schedule.strategy, schedule.strategy_config, schedule.setting
    stream = SiteStream(schedule.source, home.site, schedule.timeline.visits[home.site], home.root / "newest-step")
    cases = stream.open(turn.step)
    arrival = Arrival(
        site=home.site,
        step=turn.step,
        round=turn.round,
        cases=cases,
        seed=seed_of(schedule.config.seed, "learn", home.site, turn.step, turn.round),
        privacy=gate.private_training(cases, received, turn),
    )
    with seeded(arrival.seed):
        up: Payload = strategy.learn(config, setting, down, arrival, vault)
    if arrival.privacy is not None:
        gate.trained(arrival.privacy, received, turn, Purpose.LEARN)
    if gate.policy.most_copied is not None:
        _guard(gate, schedule, arrival, turn, strategy.remake(config, setting, down, up, home.site))
    return up


def _guard(gate: Gate, schedule: Schedule, arrival: Arrival, turn: Turn, maker: ImageMaker | None) -> None:
    """Make replays with what is about to leave, as many as there are held-out images, and hold them to the policy."""
    if maker is None:
        return
    trained = slices_of(arrival.cases)[0]
    held_out = slices_of(schedule.source.held_out(arrival.site, len(arrival.cases)))[0]
    seed = seed_of(schedule.config.seed, "guard", arrival.site, turn.serial)
    with seeded(seed):
        made = maker(len(held_out), seed)
    gate.guard(made, trained, held_out)


def _score(home: Home, schedule: Schedule, down: Payload, vault: Vault) -> Payload:
    network = build_segmenter(schedule.setting)
    most = schedule.config.cases.held_out
    cases = schedule.source.held_out(home.site, most)
    with seeded(schedule.config.seed):
        images, sent = slices_of(cases)[0], down.segmenter  # type: ignore[attr-defined]
        weights = schedule.strategy.at_home(schedule.strategy_config, schedule.setting, sent, images, vault)
        network.load_state_dict(dict(weights))
        return score_cases(network, cases, schedule.setting.shape, most)


def _code_of(error: BaseException) -> Code:
    if isinstance(error, Refused) and isinstance(error.code, Code) and error.code is not Code.OK:
        return error.code
    known = {DataGone: Code.DATA_GONE, SourceError: Code.DATA_UNREADABLE, WireError: Code.BAD_REQUEST}
    return next((code for kind, code in known.items() if isinstance(error, kind)), Code.SITE_ERROR)


@contextmanager
def _private_output(home: Home) -> Iterator[TextIO]:
    """Keep what a site prints or logs in its own log: a terminal or a log collector would be a way out.

    Every logger is turned round, because MONAI, nibabel and others hold a console of their own.
    """
    home.root.mkdir(parents=True, exist_ok=True)
    root = logging.getLogger()
    named = [logger for logger in root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    handlers = [(logger, logger.handlers) for logger in (root, *named)]
    path = home.root / "site.log"
    # A file name that is not UTF-8 must not fail the log, and be told by that failure.
    with path.open("a", encoding="utf-8", errors="backslashreplace") as log, redirect_stdout(log), redirect_stderr(log):
        own = logging.StreamHandler(log)
        for logger, _ in handlers:
            logger.handlers = [own] if logger is root or not logger.propagate else []
        try:
            yield log
        finally:
            for logger, before in handlers:
                logger.handlers = before
