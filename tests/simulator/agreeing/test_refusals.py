"""What secure aggregation could not hide is refused, before the run or by the site that is asked for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from simulator import site as site_module
from simulator.contract import Contracts, Nothing, Purpose, Reply, Request
from simulator.flower.launch import launch
from simulator.flower.server_app import Silence
from simulator.loop import SitesFailed
from simulator.schedule import read_schedule
from simulator.site import Home, answer
from simulator.store import Store
from sites.aggregation import PublicKey, public_key, roster_of
from sites.errors import ConfigError
from sites.gate import Code
from sites.stream import Turn
from sites.wire import pack
from tests.simulator.agreeing.masked import ADMIT, MASKED, TOGETHER, Policy, Tiny

FIRST = Turn(step=1, round=1, serial=1)


@pytest.mark.parametrize(
    ("keys", "settings", "message"),
    [
        ({"strategy": "finetune"}, MASKED, r"strategy 'finetune' looks at single ones.*one of fedadam, fedavg, fedbn,"),
        ({"strategy": "ewc"}, MASKED, "strategy 'ewc' looks at single ones"),
        ({"arrivals": ["A", ["B", "C"]], "stay": 1}, MASKED, "at least 3 sites, but in step 1 A learns alone"),
        ({"arrivals": [["A", "B"]]}, MASKED, "at least 3 sites, but in step 1 A and B learn by themselves"),
        ({}, {"secure_aggregation": {"least": 1}}, "secure_aggregation.least: Input should be greater than or equal"),
        ({}, {**MASKED, "admit": ADMIT[:-1]}, "add key to admit"),
    ],
)
def test_what_could_not_be_hidden_is_refused_before_the_run(
    keys: dict[str, Any], settings: dict[str, Any], message: str, tiny: Tiny, policy: Policy
) -> None:
    with pytest.raises(ConfigError, match=message):
        read_schedule(tiny(**{**TOGETHER, **keys}, policy=policy(**settings))).check()


def test_sites_that_learn_together_need_the_same_setting(tiny: Tiny, policy: Policy) -> None:
    mixed = {"policy": policy(**MASKED), "site_policies": {"C": policy("plain")}}
    with pytest.raises(ConfigError, match="C, learning at the same time in step 1, has a policy that does not"):
        read_schedule(tiny(**TOGETHER, **mixed)).check()


def failing(tiny: Tiny, folder: Path, site: str, own: str, **keys: Any) -> tuple[str, Code]:
    """Run a schedule in which a site has another policy than the one it was checked with; return who failed and why."""
    store = Store.create(folder, read_schedule(tiny(**{**TOGETHER, **keys})))
    (store.root / "sites" / site / "policy.yaml").write_text(Path(own).read_text())
    with pytest.raises(SitesFailed) as failed:
        launch(store, "local", Silence())
    (failure,) = failed.value.failures
    assert not (store.root / "sites" / site / "newest-step").exists()
    return failure.site, failure.code


def test_a_site_keeps_to_its_own_policy_whatever_it_is_asked(tiny: Tiny, tmp_path: Path, policy: Policy) -> None:
    masked, plain, many = policy(**MASKED), policy("plain"), policy("many", secure_aggregation={"least": 4})
    assert failing(tiny, tmp_path / "1", "B", plain, policy=masked) == ("B", Code.BAD_REQUEST)
    assert failing(tiny, tmp_path / "2", "B", many, policy=masked) == ("B", Code.UNDEFENDED)
    alone = {"arrivals": ["B"], "strategy": "ewc", "policy": "default"}
    assert failing(tiny, tmp_path / "3", "B", masked, **alone) == ("B", Code.UNDEFENDED)


@pytest.fixture
def asked(tiny: Tiny, tmp_path: Path, policy: Policy) -> Asked:
    return Asked(Store.create(tmp_path / "asked", read_schedule(tiny(**TOGETHER, policy=policy(**MASKED)))))


class Asked:
    """Sites that a server asks by hand."""

    def __init__(self, store: Store) -> None:
        self.schedule = store.schedule()
        self.homes = {site: store.home(site) for site in self.schedule.timeline.sites}
        self.contracts = Contracts(self.schedule)
        self.down = pack(self.schedule.new_server().broadcast("A", 1), self._contract().down.manifest)

    def _contract(self, purpose: Purpose = Purpose.LEARN) -> Any:
        return self.contracts.of(purpose, FIRST, masked=True)

    def _ask(self, home: Home, purpose: Purpose, body: Mapping[str, bytes]) -> Reply:
        mark = self._contract(purpose).fingerprint
        return answer(
            Request(purpose=purpose, turn=FIRST, schedule=self.schedule.as_json(), fingerprint=mark, body=body), home
        )

    def key(self, site: str) -> PublicKey:
        contract = self._contract(Purpose.KEYS)
        body = pack(Nothing(), contract.down.manifest)
        return contract.up.opened(self._ask(self.homes[site], Purpose.KEYS, body).body)

    def learn(self, site: str, among: str, down: dict[str, bytes] | None = None, told: Any = None) -> Reply:
        body = down or self.down
        places = {one: self.schedule.timeline.sites.index(one) for one in among}
        keys = {place: self.key(one) for one, place in places.items()}
        roster = roster_of(keys, dict.fromkeys(places.values(), told or body), 3)
        return self._ask(self.homes[site], Purpose.LEARN, {**body, **pack(roster, self._contract().roster.manifest)})


def test_a_turn_that_is_done_again_releases_the_same_or_nothing(asked: Asked) -> None:
    """With another site left out, or other weights to learn from, two sums would differ by what one site released."""
    first = asked.learn("A", "ABC")
    assert first.code is Code.OK
    assert asked.learn("A", "ABC").body == first.body
    other = {key: bytes(len(data)) for key, data in asked.down.items()}
    assert asked.learn("A", "ABC", other).code is Code.UNDEFENDED
    assert asked.learn("A", "ABC").body == first.body


def test_a_sum_of_too_few_is_refused_and_no_data_are_read(asked: Asked) -> None:
    assert asked.learn("A", "AB").code is Code.UNDEFENDED
    assert asked.learn("A", "A").code is Code.UNDEFENDED
    assert not (asked.homes["A"].root / "newest-step").exists()


def test_a_roster_that_is_not_the_rounds_is_refused(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked.learn("A", "BC").code is Code.BAD_REQUEST
    assert asked.learn("A", "ABC", told={"segmenter": b"something else"}).code is Code.BAD_REQUEST
    monkeypatch.setattr(site_module, "own_key", lambda *given: public_key(asked_key(given[1], given[2])))
    assert asked.learn("A", "ABC").code is Code.BAD_REQUEST


def asked_key(secret: Any, turn: Turn) -> Any:
    """The key of another turn than the one that is asked for."""
    from sites.aggregation import private_key

    return private_key(secret, Turn(step=turn.step, round=turn.round + 1, serial=turn.serial))


def test_an_unmasked_site_gives_no_key(tiny: Tiny, tmp_path: Path, policy: Policy) -> None:
    plain = policy("plain")
    asked = Asked(Store.create(tmp_path / "asked", read_schedule(tiny(**TOGETHER, policy=plain))))
    reply = asked._ask(asked.homes["A"], Purpose.KEYS, {})
    assert reply.code is Code.BAD_REQUEST
    assert reply.body == {}
