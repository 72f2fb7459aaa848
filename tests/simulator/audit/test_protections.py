"""The audit names each defence in words, says what it is worth, and finds a release that went without it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from simulator.audit.auditing import audit_run
from simulator.audit.model import PrivacySpent
from simulator.audit.protections import protections_of
from sites.policy import SitePolicy
from sites.privacy import DpSgd

Run = Callable[..., Path]
Wardround = Callable[..., tuple[int, str, str]]
SCHEMA = Path(__file__).parents[3] / "simulator" / "audit" / "audit.schema.json"

ALL = {"clip": 0.5, "noise": 0.01, "dp_sgd": {"noise_multiplier": 1.0, "delta": 0.01}, "simulated_secret": "sesame"}
INSTANCE = {"widths": [4, 8], "residual_units": 0, "norm": "instance"}


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "defended.yaml"
    path.write_text(yaml.safe_dump({"admit": ["segmenter", "score"], **ALL}))
    return str(path)


def words(spent: PrivacySpent | None = None, **settings: Any) -> str:
    return " ".join(protections_of(SitePolicy(admit=(), **settings), spent))


def private(epsilon: float, delta: float = 0.001, patients: int = 20) -> str:
    spent = PrivacySpent(epsilon=epsilon, delta=delta, iterations=10, patients=patients)
    return words(spent, dp_sgd=DpSgd(noise_multiplier=1.0, delta=delta))


def test_each_defence_has_its_sentence() -> None:
    assert words() == ""
    assert "multiple of 5" in words(round_counts_to=5)
    assert "limited (clipping, to an L2 norm of 0.5)" in words(clip=0.5)
    assert "standard deviation 0.005, 0.01 times that limit" in words(clip=0.5, noise=0.01)
    assert "more than 20% of the patients' images" in words(most_copied=0.2)
    assert "was drawn at the hospital and never left it" in words(clip=0.5, noise=0.01)
    assert "Who can read the policy can take the noise off" in words(clip=0.5, noise=0.01, simulated_secret="sesame")


def test_epsilon_is_put_into_words() -> None:
    assert "at most 2.72 times as sure as before" in private(1.0)
    assert "strong promise" in private(1.0)
    assert "reasonable promise" in private(8.0)
    assert "weak promise" in private(60.0)
    assert "more than a hundred million times" in private(60.0)
    assert "is no promise" in private(1.0, delta=0.05)
    assert "is no promise" not in private(1.0, delta=0.04)


def test_an_audit_names_the_defences_and_not_the_secret(run_tiny: Run, wardround: Wardround, policy: str) -> None:
    root = run_tiny(policy=policy, network=INSTANCE)
    audit = audit_run(root)
    assert audit.findings == ()
    assert any(sentence.startswith("Defences in force: clipping, noise and DP-SGD") for sentence in audit.sentences)
    assert audit.sites[0].spent is not None
    assert audit.sites[0].spent.epsilon > 0
    assert audit.sites[2].spent is None
    assert wardround("audit", root)[0] == 0
    jsonschema.validate(json.loads((root / "audit.json").read_text()), json.loads(SCHEMA.read_text()))
    html = unescape((root / "audit.html").read_text())
    assert all(sentence in html for site in audit.sites for sentence in site.defences)
    assert "sesame" not in html + (root / "audit.json").read_text()
    assert "None" not in html


MASKED = {"admit": ["segmenter", "count", "score", "key"], "secure_aggregation": {"least": 3}}


@pytest.fixture
def summed(tmp_path: Path) -> str:
    path = tmp_path / "summed.yaml"
    path.write_text(yaml.safe_dump(MASKED))
    return str(path)


def test_an_audit_says_in_what_sums_releases_can_be_read(run_tiny: Run, wardround: Wardround, summed: str) -> None:
    root = run_tiny(strategy="fedavg", arrivals=[["A", "B", "C"]], policy=summed)
    audit = audit_run(root)
    assert audit.findings == ()
    assert audit.outside == ()
    assert any(sentence.startswith("Defences in force: secure aggregation at A, B") for sentence in audit.sentences)
    (told,) = {site.defences for site in audit.sites[:3]}
    assert "of which there must be 3 or more (secure aggregation)" in told[0]
    assert "All other hospitals of a round together with the server can work out the last one's upload" in told[0]
    assert told[1] == "The masks come from a secret that was drawn at the hospital and never left it."
    learnt = [entry for entry in audit.sites[0].entries if entry.event == "release" and entry.purpose == "learn"]
    assert [(entry.field, entry.masked, entry.standing) for entry in learnt] == [
        ("segmenter", 3, "receipted"),
        ("cases", 3, "receipted"),
    ]
    assert wardround("audit", root)[0] == 0
    jsonschema.validate(json.loads((root / "audit.json").read_text()), json.loads(SCHEMA.read_text()))
    html = unescape((root / "audit.html").read_text())
    assert "masked: readable only as a sum of 3 sites; the server has it" in html
    assert told[0] in html


def test_of_masked_uploads_a_message_has_the_room_of_their_sum(run_tiny: Run, summed: str) -> None:
    audit = audit_run(run_tiny(strategy="fedavg", arrivals=[["A", "B", "C"]], policy=summed))
    bits = {channel.name: channel.bits for channel in audit.channels}
    sizes = {entry.field: entry.bytes for entry in audit.sites[0].entries if entry.event == "release"}
    keys = 3 * 8 * sizes["public_key"]
    assert bits["values"] == pytest.approx(8 * sizes["segmenter"] + keys, abs=3)
    assert bits["counts"] == pytest.approx(8 * sizes["cases"], abs=3)


def test_a_release_that_went_unmasked_is_found(run_tiny: Run) -> None:
    root = run_tiny(strategy="fedavg", arrivals=[["A", "B", "C"]])
    path = root / "sites" / "A" / "policy.yaml"
    path.write_text(path.read_text().replace("secure_aggregation: null", "secure_aggregation: {least: 3}"))
    found = [(finding.what, finding.field) for finding in audit_run(root).findings]
    assert ("defence", "segmenter") in found
    assert ("undeclared", "segmenter") in found
    assert ("defence", "cases") in found


def test_a_sum_of_more_or_fewer_sites_than_the_server_says_is_found(run_tiny: Run, summed: str) -> None:
    root = run_tiny(strategy="fedavg", arrivals=[["A", "B", "C"]], policy=summed)
    path = root / "receipts.jsonl"
    path.write_text(path.read_text().replace('"masked": 3', '"masked": 4', 1))
    (finding,) = audit_run(root).findings
    assert finding.what == "differs"
    assert "masked in a sum of 3 sites" in finding.sentence
    assert "masked in a sum of 4 sites" in finding.sentence


def test_a_sum_that_a_site_was_not_in_is_found(run_tiny: Run, summed: str) -> None:
    root = run_tiny(strategy="fedavg", arrivals=[["A", "B", "C"]], policy=summed)
    path = root / "sites" / "C" / "ledger.jsonl"
    roster = next(json.loads(line)["roster"] for line in path.read_text().splitlines() if "roster" in json.loads(line))
    path.write_text(path.read_text().replace(roster, "0" * 64))
    found = [(finding.site, finding.sentence) for finding in audit_run(root).findings if finding.what == "defence"]
    assert len(found) == 6
    assert (
        "A",
        "'segmenter' of step 1, round 1 (learn) left for a sum of 3 sites, by whose ledgers 2 released into that sum.",
    ) in found


def test_a_plan_shows_what_leaves_under_masks(wardround: Wardround, tiny: Callable[..., Path], summed: str) -> None:
    plan = tiny(strategy="fedavg", arrivals=[["A", "B", "C"]], policy=summed)
    code, out, _ = wardround("audit", "--plan", plan, "--format", "json")
    assert code == 0
    leaving = {(one["purpose"], one["field"]): one["first"] for one in json.loads(out)["leaving"]}
    assert leaving["keys", "public_key"] == 32
    assert leaving["learn", "cases"] == 8
    code, plain, _ = wardround("audit", "--plan", plan, "--set", "policy=default", "--format", "json")
    bare = {(one["purpose"], one["field"]): one["first"] for one in json.loads(plain)["leaving"]}
    assert 1.9 * bare["learn", "segmenter"] < leaving["learn", "segmenter"] <= 2 * bare["learn", "segmenter"]
    code, out, _ = wardround("audit", "--plan", plan, "--set", "strategy=finetune")
    assert code == 1
    assert "looks at single ones with these settings" in " ".join(out.split())


def test_a_run_without_defences_says_so(run_tiny: Run) -> None:
    assert any("No hospital asked for clipping, noise" in sentence for sentence in audit_run(run_tiny()).sentences)


def test_a_release_that_went_without_the_policys_defence_is_found(run_tiny: Run) -> None:
    root = run_tiny()
    path = root / "sites" / "A" / "policy.yaml"
    path.write_text(path.read_text().replace("clip: null", "clip: 0.5"))
    found = {finding.what for finding in audit_run(root).findings}
    assert found == {"policy", "defence"}


def test_a_plan_says_what_it_would_defend_and_fails_where_it_can_not(
    wardround: Wardround, tiny: Callable[..., Path], policy: str
) -> None:
    code, out, _ = wardround("audit", "--plan", tiny(policy=policy, network=INSTANCE))
    assert code == 0
    assert "epsilon) is known after the run" in " ".join(out.split())
    code, out, _ = wardround("audit", "--plan", tiny(policy=policy))
    assert code == 1
    assert "set network.norm: instance" in " ".join(out.split())


def test_noise_leaves_less_room_for_a_message(run_tiny: Run, tmp_path: Path) -> None:
    """Of n values under noise z, n/2 log2(1 + 1 / (n z^2)) bits are left, and whole numbers as they are."""
    admit = {"admit": ["segmenter", "score"], "clip": 1.0}
    bits = {}
    for name, noise in (("bounded", None), ("noised", 0.1)):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**admit, "noise": noise}))
        audit = audit_run(run_tiny(name, arrivals=["A"], policy=str(path)))
        bits[name] = next(channel.bits or 0 for channel in audit.channels if channel.name == "values")
    (release,) = [entry for entry in audit.sites[0].entries if entry.field == "segmenter" and entry.event == "release"]
    assert bits["bounded"] == 8 * release.bytes
    assert release.bare > 0
    values = (release.bytes - release.bare) // 4
    assert bits["noised"] - 8 * release.bare == math.ceil(values / 2 * math.log2(1 + 1 / (values * 0.01)))
