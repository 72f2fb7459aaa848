"""The one ServerApp: the loop on one side, a Grid on the other."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import cast

from flwr.app import Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

from simulator.contract import Contract, Nothing, Purpose, Reply, Request, agreed
from simulator.flower.records import MESSAGE_TYPES, from_request, to_reply
from simulator.loop import Failure, Progress, SitesFailed, run
from simulator.schedule import Schedule, read_schedule
from simulator.store import Store
from sites.aggregation import PublicKey, Roster, mean_of, roster_of
from sites.errors import WardroundError, WireError
from sites.gate import Code, Refused, account
from sites.scoring import ScoreRequest, Scores
from sites.stream import Turn
from sites.wire import Payload, Weights, pack

REGISTRATION_SECONDS = 300.0


class FlowerExchange:
    """Carries the loop's payloads over a Flower Grid, and writes a receipt for whatever comes up."""

    def __init__(self, grid: Grid, schedule: Schedule, store: Store, progress: Progress) -> None:
        self._grid = grid
        self._schedule = schedule
        self._store = store
        self._progress = progress
        self._text = schedule.as_json()
        _, self._contracts = agreed(self._text)
        self._sum = schedule.strategy.sums(schedule.strategy_config)
        self._masked = {site for site in schedule.timeline.seen if store.home(site).policy().secure_aggregation}
        self._nodes = self._meet()

    def learn(self, downs: Mapping[str, Payload], turn: Turn) -> Mapping[str, Payload]:
        """Send each site its broadcast and return their uploads; masked ones as one, which stands for all of them."""
        if self._sum is None or not self._masked.intersection(downs):
            return self._exchange(Purpose.LEARN, downs, turn)
        keys = self._exchange(Purpose.KEYS, dict.fromkeys(downs, Nothing()), turn)
        contract = self._contracts.of(Purpose.LEARN, turn, masked=True)
        places = {site: self._schedule.timeline.sites.index(site) for site in downs}
        roster = roster_of(
            {places[site]: cast(PublicKey, key) for site, key in keys.items()},
            {places[site]: pack(down, contract.down.manifest) for site, down in downs.items()},
            len(self._schedule.setting.sites),
        )
        uploads = self._exchange(Purpose.LEARN, downs, turn, roster)
        mean = mean_of(list(uploads.values()), contract.up.blank, contract.up.manifest, self._sum.weight)
        return {" + ".join(uploads): mean}

    def score(self, segmenters: Mapping[str, Weights], turn: Turn) -> Mapping[str, Scores]:
        requests = {site: ScoreRequest(segmenter=segmenter) for site, segmenter in segmenters.items()}
        return cast(Mapping[str, Scores], self._exchange(Purpose.SCORE, requests, turn))

    def _exchange(
        self, purpose: Purpose, downs: Mapping[str, Payload], turn: Turn, roster: Roster | None = None
    ) -> dict[str, Payload]:
        """Send, wait for every site, write the receipts, and raise `SitesFailed` where one did not do its part.

        With a roster, which goes down as well, the uploads come up masked.
        """
        contract = self._contracts.of(purpose, turn, masked=purpose is Purpose.KEYS or roster is not None)
        replies = self._send(purpose, self._messages(purpose, downs, turn, contract, roster))
        uploads: dict[str, Payload] = {}
        failures: list[Failure] = []
        masked = len(downs) if roster else 0
        for site in downs:
            try:
                uploads[site] = self._take(site, replies.get(site), contract, purpose, turn, masked=masked)
            except Refused as refused:
                failures.append(Failure(site=site, step=turn.step, purpose=purpose, code=refused.code))
        if failures:
            raise SitesFailed(failures)
        return uploads

    def _take(
        self, site: str, reply: Reply | None, contract: Contract, purpose: Purpose, turn: Turn, *, masked: int
    ) -> Payload:
        """Return the payload of a reply, with a receipt for its bytes. Raises `Refused` where it holds none.

        masked: over how many sites the sum is in which alone it can be read, 0 where it is not masked
        """
        if reply is None or reply.code is not Code.OK:
            raise Refused(reply.code if reply else Code.NO_REPLY)
        form = contract.sent
        try:
            upload: Payload = form.opened(reply.body)
        except WireError as error:
            raise Refused(Code.NOT_AS_DECLARED) from error
        receipts = account(reply.body, form.manifest, turn, purpose, event="release")
        told = {"masked": masked} if masked else {}
        self._store.add_receipts({"site": site, **row, **told} for row in receipts)
        return upload

    def _messages(
        self, purpose: Purpose, downs: Mapping[str, Payload], turn: Turn, contract: Contract, roster: Roster | None
    ) -> Iterator[Message]:
        """Yield a message a site; sites that get the same bytes share one content, so that a Grid may send it once."""
        contents: list[tuple[Mapping[str, bytes], RecordDict]] = []
        listed = pack(roster, contract.roster.manifest) if roster and contract.roster else {}
        for site, down in downs.items():
            body = pack(down, contract.down.manifest) | listed
            content = next((content for other, content in contents if other == body), None)
            if content is None:
                content = self._content(purpose, turn, contract.fingerprint, body)
                contents.append((body, content))
            yield self._message(content, purpose, self._nodes[site])

    def _content(self, purpose: Purpose, turn: Turn, fingerprint: str, body: Mapping[str, bytes]) -> RecordDict:
        return from_request(
            Request(purpose=purpose, turn=turn, schedule=self._text, fingerprint=fingerprint, body=body)
        )

    def _message(self, content: RecordDict, purpose: Purpose, node: int) -> Message:
        ttl = self._schedule.turn_seconds
        return self._grid.create_message(content, MESSAGE_TYPES[purpose], node, group_id="", ttl=ttl)

    def _send(self, purpose: Purpose, messages: Iterable[Message]) -> dict[str, Reply]:
        """Send messages and return the replies by site. A site whose process died has the code SITE_DIED."""
        sent, reply_seconds = list(messages), self._schedule.config.limits.reply_seconds
        names = {node: site for site, node in self._nodes.items()}
        replies = {}
        for message in self._grid.send_and_receive(sent, timeout=reply_seconds * len(sent)):
            replies[names[message.metadata.src_node_id]] = _reply_in(message)
            if purpose is not Purpose.KEYS:
                self._progress.advance()
        return replies

    def _meet(self) -> dict[str, int]:
        """Wait for all nodes, ask each which site it is, and return the node of each site.

        Raises `WardroundError` where a site of the schedule has not come in time.
        """
        sites = self._schedule.timeline.sites
        deadline = time.monotonic() + REGISTRATION_SECONDS
        while len(nodes := sorted(self._grid.get_node_ids())) < len(sites) and time.monotonic() < deadline:
            time.sleep(0.1)
        content = self._content(Purpose.HELLO, Turn(step=0, round=0, serial=0), "", {})
        hellos = [self._message(content, Purpose.HELLO, node) for node in nodes]
        found = {}
        for message in self._grid.send_and_receive(hellos, timeout=REGISTRATION_SECONDS):
            reply = _reply_in(message)
            if reply.code is Code.OK and 0 <= reply.site < len(sites):
                found[sites[reply.site]] = message.metadata.src_node_id
        if missing := [site for site in sites if site not in found]:
            raise WardroundError(f"no node came for site {', '.join(missing)} within {REGISTRATION_SECONDS:.0f} s")
        return found


def _reply_in(message: Message) -> Reply:
    """Read a reply. Flower's own error text is not read: it may quote a site's data."""
    if message.has_error():
        return Reply(code=Code.SITE_DIED, site=-1, fingerprint="")
    try:
        return to_reply(message.content)
    except WireError:
        return Reply(code=Code.NOT_AS_DECLARED, site=-1, fingerprint="")


def server_app(progress: Progress) -> ServerApp:
    """Return the ServerApp. Its run configuration names the run folder (`run-dir`) and, for a new one, a `schedule`."""
    made = ServerApp()

    @made.main()
    def main(grid: Grid, context: Context) -> None:
        root = Path(str(context.run_config["run-dir"]))
        if not (root / "config.yaml").exists():
            schedule = read_schedule(Path(str(context.run_config["schedule"])))
            schedule.check()
            Store.create(root, schedule)
        execute(grid, Store(root), progress)

    return made


def execute(grid: Grid, store: Store, progress: Progress) -> None:
    """Run a store's schedule on a grid to its end. Raises `SitesFailed`, which the store records."""
    schedule = store.schedule()
    with store.held():
        try:
            run(schedule, FlowerExchange(grid, schedule, store, progress), store, progress)
        except SitesFailed as failed:
            store.add_failures(asdict(failure) | {"code": failure.code.name} for failure in failed.failures)
            raise
        store.finish(schedule.timeline.sites)


class Silence:
    """A progress that shows nothing."""

    def begin(self, total: int, done: int) -> None: ...

    def doing(self, what: str) -> None: ...

    def advance(self, count: int = 1) -> None: ...


app = server_app(Silence())
