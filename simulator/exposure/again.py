"""Does a run's turns of learning again, to have in hand what left: a run folder keeps digests of it alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from simulator.contract import Contracts, Purpose, Request
from simulator.loop import events_of
from simulator.site import Home, answer
from simulator.store import Store
from sites.errors import UserError
from sites.gate import Code, account
from sites.seeds import seed_of, seeded
from sites.wire import Payload, pack, unpack


@dataclass(frozen=True, kw_only=True)
class FirstTurn:
    """What came down to a site and what left it when it learnt first; `same`: to the byte what the receipts say."""

    site: str
    step: int
    down: Payload
    up: Payload
    same: bool


def first_turns(store: Store) -> Iterator[FirstTurn]:
    """Yield each site's first turn of a finished run, done again in a folder that is gone afterwards."""
    schedule = store.schedule()
    contracts, text, seed = Contracts(schedule), schedule.as_json(), schedule.config.seed
    receipts = {(row["site"], row["step"], row["round"], row["field"]): row["sha256"] for row in store.releases()}
    server, waiting = schedule.new_server(), set(schedule.timeline.seen)
    with _homes(store) as homes:
        for event in events_of(schedule, server):
            if event.purpose is not Purpose.LEARN:
                continue
            contract, turn = contracts.of(event.purpose, event.turn), event.turn
            with seeded(seed_of(seed, "broadcast", turn.serial)):
                downs = {site: server.broadcast(site, turn.step) for site in event.sites}
            uploads = {}
            for site, down in downs.items():
                body = pack(down, contract.down.manifest)
                request = Request(
                    purpose=event.purpose, turn=turn, schedule=text, fingerprint=contract.fingerprint, body=body
                )
                reply = answer(request, homes[site])
                if reply.code is not Code.OK:
                    raise UserError(f"{store.root}: site '{site}' can't learn again: {reply.code.name}")
                uploads[site] = unpack(contract.up.blank, contract.up.manifest, reply.body)
                if site not in waiting:
                    continue
                waiting.remove(site)
                rows = account(reply.body, contract.up.manifest, turn, event.purpose, event="release")
                same = all(receipts.get((site, turn.step, turn.round, row["field"])) == row["sha256"] for row in rows)
                yield FirstTurn(site=site, step=turn.step, down=down, up=uploads[site], same=same)
            if not waiting:
                return
            with seeded(seed_of(seed, "absorb", turn.serial)):
                server.absorb(uploads, turn.step)


@contextmanager
def _homes(store: Store) -> Iterator[dict[str, Home]]:
    """Make an empty private folder for each site, with the policy that it had."""
    with TemporaryDirectory(prefix="wardround-") as folder:
        homes = {site: Home(site=site, root=Path(folder) / site) for site in store.schedule().timeline.sites}
        for site, home in homes.items():
            home.root.mkdir()
            shutil.copy(store.home(site).root / "policy.yaml", home.root)
        yield homes
