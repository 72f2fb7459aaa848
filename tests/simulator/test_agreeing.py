"""Secure aggregation in a run: the server can read sums alone, learns from them the same, and is refused otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from simulator import site as site_module
from simulator.contract import Contracts, Nothing, Purpose, Reply, Request
from simulator.flower import server_app
from simulator.flower.launch import launch, on_ray
from simulator.flower.server_app import Silence, execute
from simulator.loop import SitesFailed
from simulator.schedule import read_schedule
from simulator.site import Home, answer
from simulator.store import Store
from sites.aggregation import PublicKey, public_key, roster_of
from sites.errors import ConfigError
from sites.gate import Code
from sites.ledger import Row, first_broken, read_rows
from sites.stream import Turn
from sites.wire import Payload, pack
from strategies import known, load
from tests.simulator.test_resume import in_a_process

Run = Callable[..., Path]
Tiny = Callable[..., Path]
Policy = Callable[..., str]

ADMIT = ["segmenter", "gradient", "count", "score", "key"]
MASKED = {"secure_aggregation": {"least": 3}}
SIMULATED = {**MASKED, "simulated_secret": "for a test"}
TOGETHER: dict[str, Any] = {"arrivals": [["A", "B", "C"]], "strategy": "fedavg"}
LONGER: dict[str, Any] = {
    "arrivals": [["A", "B", "C"], "D"],
    "stay": "forever",
    "strategy": "fedavg",
    "budget": {"iterations": 2, "rounds": 2, "batch": 3},
}
SUMMING = [name for name in known() if load(name).sums(load(name).config()) is not None]
FIRST = Turn(step=1, round=1, serial=1)


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    """Return a function that writes a policy and returns its path."""

    def write(name: str = "summed", **settings: Any) -> str:
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"admit": ADMIT, **settings}))
        return str(path)

    return write


def released(run: Path, site: str, purpose: str = "learn") -> list[Row]:
    rows = read_rows(run / "sites" / site / "ledger.jsonl")
    return [row for row in rows if row["event"] == "release" and row["purpose"] == purpose]


def state(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoint.safetensors")


def test_those_that_merely_sum_are_these() -> None:
    assert SUMMING == ["fedadam", "fedavg", "fedbn", "fedprox", "scaffold"]


@pytest.mark.parametrize(
    "name",
    [name if name == "scaffold" else pytest.param(name, marks=pytest.mark.slow) for name in SUMMING] + ["uniform"],
)
def test_the_server_learns_the_same_from_the_sum(name: str, run_tiny: Run, policy: Policy) -> None:
    strategy = {"name": "fedavg", "weighting": "uniform"} if name == "uniform" else name
    arrivals = [[{"site": "A", "train": 2}, {"site": "B", "train": 5}, "C"]]
    keys = {**TOGETHER, "strategy": strategy, "arrivals": arrivals}
    plain, masked = (
        state(run_tiny(folder, **keys, policy=policy(folder, **settings)))
        for folder, settings in (("plain", {}), ("masked", MASKED))
    )
    for key, value in plain.items():
        torch.testing.assert_close(masked[key], value, rtol=0, atol=1e-8)


def test_the_server_gets_no_bit_of_an_upload_as_it_was(
    run_tiny: Run, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights of this size are below 2^40 as whole numbers; under masks they are anything below 2^63."""
    seen: dict[str, Reply] = {}
    taken = server_app.FlowerExchange._take

    def watch(self: Any, site: str, reply: Reply, *rest: Any, masked: int) -> Payload:
        if masked:
            seen[site] = reply
        return taken(self, site, reply, *rest, masked=masked)

    monkeypatch.setattr(server_app.FlowerExchange, "_take", watch)
    run = run_tiny(**TOGETHER, policy=policy(**MASKED))
    average = state(run)
    assert set(seen) == {"A", "B", "C"}
    for reply in seen.values():
        words = torch.frombuffer(
            bytearray(b"".join(reply.body[f"segmenter/{name}"] for name in average)), dtype=torch.int64
        )
        assert words.numel() == sum(value.numel() for value in average.values())
        assert float(words.double().abs().median()) > 2.0**61
        assert int.from_bytes(reply.body["cases"], "little", signed=True) != 3
    total = sum(int.from_bytes(reply.body["cases"], "little") for reply in seen.values())
    assert total % 2**64 == 3 * 3


def test_scores_are_the_same_bits_with_any_secret_and_uploads_with_a_simulated_one(
    run_tiny: Run, policy: Policy
) -> None:
    drawn, simulated = policy("drawn", **MASKED), policy("simulated", **SIMULATED)
    runs = [
        run_tiny(str(row), **TOGETHER, policy=path) for row, path in enumerate((drawn, drawn, simulated, simulated))
    ]
    for name in ("scores.jsonl", "checkpoint.safetensors"):
        assert len({(run / name).read_bytes() for run in runs}) == 1
    for purpose in ("learn", "keys"):
        left = [tuple(row["sha256"] for site in "ABC" for row in released(run, site, purpose)) for run in runs]
        assert len(set(left)) == 3
        assert left[2] == left[3]


def test_the_ledger_says_in_what_sum_a_release_can_be_read(run_tiny: Run, policy: Policy) -> None:
    run = run_tiny(**LONGER, policy=policy(**MASKED))
    for site in "ABC":
        assert [row["masked"] for row in released(run, site)] == [3, 3, 3, 3, 4, 4, 4, 4]
        assert [row["bytes"] for row in released(run, site, "keys")] == [32] * 4
    rosters = [[row["roster"] for row in released(run, site)] for site in "ABC"]
    assert rosters[0] == rosters[1] == rosters[2]
    assert len(set(rosters[0])) == 4
    receipts = [row for row in read_rows(run / "receipts.jsonl") if row["purpose"] == "learn"]
    assert {row["sha256"] for row in receipts} == {row["sha256"] for site in "ABCD" for row in released(run, site)}
    assert {row["masked"] for row in receipts} == {3, 4}


@pytest.mark.parametrize(
    "defence",
    [
        pytest.param({"clip": 0.05}, marks=pytest.mark.slow),
        {"clip": 0.05, "noise": 0.1},
        pytest.param({"dp_sgd": {"noise_multiplier": 1.0, "delta": 0.01}}, marks=pytest.mark.slow),
        {"clip": 0.05, "noise": 0.1, "dp_sgd": {"noise_multiplier": 1.0, "delta": 0.01}, "round_counts_to": 5},
    ],
    ids=["clip", "noise", "DP-SGD", "all"],
)
def test_masks_come_after_every_other_defence(defence: dict[str, Any], run_tiny: Run, policy: Policy) -> None:
    keys = {**TOGETHER, "network": {"widths": [4, 8], "residual_units": 0, "norm": "instance"}}
    plain, masked = (
        run_tiny(folder, **keys, policy=policy(folder, simulated_secret="a", **defence, **settings))
        for folder, settings in (("plain", {}), ("masked", MASKED))
    )
    for key, value in state(plain).items():
        torch.testing.assert_close(state(masked)[key], value, rtol=0, atol=1e-8)
    for row in released(masked, "A"):
        assert row["masked"] == 3
        assert row.get("clip") == (defence.get("clip") if row["kind"] == "segmenter" else None)
        assert row.get("noise") == (defence.get("noise") if row["kind"] == "segmenter" else None)


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


@pytest.mark.parametrize("share", [0.5, pytest.param(0.3, marks=pytest.mark.slow)])
def test_killed_and_resumed_gives_the_same_bits(share: float, run_tiny: Run, policy: Policy, tmp_path: Path) -> None:
    path = policy(**SIMULATED)
    whole = run_tiny("whole", **LONGER, policy=path)
    counted = Store.create(tmp_path / "again", read_schedule(whole / "config.yaml"))
    assert in_a_process(counted.root) == 0
    points = int((tmp_path / "counted").read_text())
    killed = Store.create(tmp_path / "killed", read_schedule(whole / "config.yaml")).root
    assert in_a_process(killed, int(points * share)) < 0
    assert in_a_process(killed) == 0
    for name in ("scores.jsonl", "checkpoint.safetensors"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    for site in "ABCD":
        assert {r["sha256"] for r in released(killed, site)} == {r["sha256"] for r in released(whole, site)}
        assert first_broken(read_rows(killed / "sites" / site / "ledger.jsonl")) is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_actors_give_the_bits_of_one_process(run_tiny: Run, policy: Policy, tmp_path: Path) -> None:
    whole = run_tiny("whole", **LONGER, policy=policy(**SIMULATED))
    store = Store.create(tmp_path / "actors", read_schedule(whole / "config.yaml"))
    with on_ray(None):
        from simulator.flower.grids.actors import SiteActorGrid

        homes = [store.home(site) for site in store.schedule().timeline.sites]
        grid = SiteActorGrid(homes, actors=2, reply_seconds=300)
        execute(grid, store, Silence())
        grid.close()
    for name in ("scores.jsonl", "checkpoint.safetensors"):
        assert (store.root / name).read_bytes() == (whole / name).read_bytes()
    for site in "ABCD":
        assert [r["sha256"] for r in released(store.root, site)] == [r["sha256"] for r in released(whole, site)]
