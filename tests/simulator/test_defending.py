"""Defences are a site's own: a run keeps to them, says so in the ledger, and refuses what can't keep to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from simulator.flower.launch import launch
from simulator.flower.server_app import Silence
from simulator.loop import SitesFailed
from simulator.schedule import read_schedule
from simulator.store import Store
from sites.errors import ConfigError
from sites.gate import Code
from sites.ledger import Row, read_rows
from sites.seeds import seed_of

Run = Callable[..., Path]
Tiny = Callable[..., Path]
Small = Callable[[str], dict[str, object]]

ADMIT = ["prompt", "diffusion", "segmenter", "count", "score"]
NOISE = {"clip": 0.5, "noise": 0.01}
DP = {"dp_sgd": {"noise_multiplier": 1.0, "delta": 0.01}}
INSTANCE = {"widths": [4, 8], "residual_units": 0, "norm": "instance"}


@pytest.fixture
def policy(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes a policy and returns its path."""

    def write(**settings: Any) -> str:
        path = tmp_path / "defended.yaml"
        path.write_text(yaml.safe_dump({"admit": ADMIT, **settings}))
        return str(path)

    return write


def learnt(run: Path, site: str = "A", event: str = "release") -> list[Row]:
    rows = read_rows(run / "sites" / site / "ledger.jsonl")
    return [row for row in rows if row["event"] == event and row["purpose"] == "learn"]


def bits(run: Path) -> list[str]:
    """The digests of all that every site released by learning."""
    return [row["sha256"] for site in ("A", "B") for row in learnt(run, site)]


def segmenter_after(run: Path, step: int) -> dict[str, Tensor]:
    weights = load_file(run / "predictors" / f"step-{step:03d}.safetensors")
    return {key: value for key, value in weights.items() if value.is_floating_point() and "running_var" not in key}


def moved(run: Path, step: int) -> Tensor:
    before, after = segmenter_after(run, step - 1), segmenter_after(run, step)
    return torch.cat([(after[key] - before[key]).flatten() for key in before])


def test_no_release_changes_the_model_by_more_than_the_bound(run_tiny: Run, policy: Callable[..., str]) -> None:
    free, bound = run_tiny("free"), run_tiny("bound", policy=policy(clip=0.05))
    assert float(moved(free, 1).norm()) > 0.1
    assert float(moved(bound, 1).norm()) <= 0.05 + 1e-5
    assert float(torch.cosine_similarity(moved(free, 1), moved(bound, 1), dim=0)) > 0.9
    assert {(row["clip"], row["noise"]) for row in learnt(bound)} == {(0.05, None)}
    assert not (bound / "sites" / "A" / "secret").exists()


def test_noise_is_not_computable_from_what_the_server_knows(run_tiny: Run, policy: Callable[..., str]) -> None:
    """The server has the schedule, its seed, and what came up. The same ones give other noise at another secret."""
    path = policy(clip=0.05, noise=0.1)
    clean = run_tiny("clean", policy=policy(clip=0.05))
    policy(clip=0.05, noise=0.1)
    one, other = run_tiny("one", policy=path), run_tiny("other", policy=path)
    noise, again = (moved(run, 1) - moved(clean, 1) for run in (one, other))
    assert float(noise.std()) == pytest.approx(0.05 * 0.1, rel=0.2)
    assert abs(float(torch.corrcoef(torch.stack([noise, again]))[0, 1])) < 0.2
    guesses = [0, *(seed_of(0, *purpose) for purpose in (("learn", "A", 1, 1), ("absorb", 1), ("broadcast", 1)))]
    for seed in guesses:
        guess = torch.randn(len(noise), generator=torch.Generator().manual_seed(seed))
        assert abs(float(torch.corrcoef(torch.stack([noise, guess]))[0, 1])) < 0.2
    secrets = {(run / "sites" / site / "secret").read_text() for run in (one, other) for site in ("A", "B")}
    assert len(secrets) == 4
    told = "".join(path.read_text(errors="ignore") for path in one.glob("*.jsonl")) + (one / "config.yaml").read_text()
    assert not any(secret in told for secret in secrets)


def test_low_order_bits_do_not_come_through_noise(run_tiny: Run, policy: Callable[..., str]) -> None:
    """A hostile strategy hides an image in the low-order bits of the weights: without noise it can be read back."""

    def hidden(run: Path) -> Tensor:
        weights = load_file(run / "predictors" / "step-001.safetensors")
        first = next(value for key, value in sorted(weights.items()) if value.numel() >= 64)
        return (first.flatten()[:64].view(torch.int32) & 0xFF).float()

    hostile = {"strategy": "tests.hostile.low_bits", "arrivals": ["A"]}
    clean = hidden(run_tiny("clean", **hostile))
    noised = hidden(run_tiny("noised", **hostile, policy=policy(clip=1.0, noise=0.001)))
    assert float((clean == noised).float().mean()) < 0.1


@pytest.mark.parametrize("defence", [NOISE, DP])
def test_a_simulation_with_a_simulated_secret_gives_the_same_bits_again(
    defence: dict[str, Any], run_tiny: Run, policy: Callable[..., str]
) -> None:
    path = policy(**defence, simulated_secret="for a test")
    one, same = (bits(run_tiny(folder, policy=path, network=INSTANCE)) for folder in ("one", "same"))
    assert one == same
    assert one != bits(run_tiny("drawn", policy=policy(**defence), network=INSTANCE))


@pytest.mark.parametrize("defence", [NOISE, DP])
def test_a_turn_that_is_done_again_releases_the_same_bits_and_costs_nothing_more(
    defence: dict[str, Any], tiny: Tiny, tmp_path: Path, policy: Callable[..., str]
) -> None:
    store = Store.create(tmp_path / "run", read_schedule(tiny(policy=policy(**defence), network=INSTANCE)))
    launch(store, "local", Silence())
    (store.root / "checkpoint.safetensors").unlink()
    (store.root / "done").unlink()
    for site in ("A", "B"):  # the stream forgets, but an interrupted turn is of the newest step
        (store.root / "sites" / site / "newest-step").unlink()
    launch(store, "local", Silence())
    rows = learnt(store.root)
    assert len(rows) == 2
    assert rows[0]["sha256"] == rows[1]["sha256"]
    spent = learnt(store.root, event="training")
    assert len(spent) == (2 if "dp_sgd" in defence else 0)
    assert len({row["epsilon"] for row in spent}) <= 1


@pytest.mark.parametrize("name", ["finetune", "fedavg", pytest.param("smdr", marks=pytest.mark.slow)])
def test_private_training_is_accounted_for_over_all_arrivals(
    name: str, run_tiny: Run, small: Small, policy: Callable[..., str]
) -> None:
    run = run_tiny(strategy=small(name), arrivals=["A", "B", "A"], policy=policy(**DP), network=INSTANCE)
    first, second = learnt(run, event="training")
    assert (first["step"], second["step"]) == (1, 3)
    assert 0 < first["epsilon"] < second["epsilon"]
    assert (first["patients"], first["noise_multiplier"], first["delta"]) == (3, 1.0, 0.01)
    assert Store(run).done


def test_beyond_the_most_epsilon_nothing_leaves(run_tiny: Run, policy: Callable[..., str]) -> None:
    bounded = {"dp_sgd": {**DP["dp_sgd"], "most_epsilon": 0.5}}
    with pytest.raises(SitesFailed) as failed:
        run_tiny(policy=policy(**bounded), network=INSTANCE)
    assert failed.value.failures[0].code is Code.OVER_BUDGET


def test_a_strategy_that_trains_in_its_own_way_is_refused_before_the_run(
    tiny: Tiny, policy: Callable[..., str]
) -> None:
    schedule = read_schedule(tiny(strategy="ewc", policy=policy(**DP, admit=[*ADMIT, "gradient"]), network=INSTANCE))
    with pytest.raises(ConfigError, match=r"DP-SGD \(dp_sgd\), which strategy 'ewc' does not keep to.*finetune"):
        schedule.check()


def test_a_strategy_that_rehearses_is_refused_before_the_run(tiny: Tiny, policy: Callable[..., str]) -> None:
    schedule = read_schedule(tiny(strategy={"name": "smdr", "retention": "distill"}, policy=policy(**DP)))
    with pytest.raises(ConfigError, match="'smdr' does not keep to"):
        schedule.check()


def test_a_site_refuses_such_a_strategy_itself_and_reads_no_data(
    tiny: Tiny, tmp_path: Path, policy: Callable[..., str]
) -> None:
    """The run was checked under another policy than the one that the site has."""
    store = Store.create(tmp_path / "run", read_schedule(tiny(strategy="lwf", network=INSTANCE)))
    (store.root / "sites" / "A" / "policy.yaml").write_text(Path(policy(**DP)).read_text())
    with pytest.raises(SitesFailed) as failed:
        launch(store, "local", Silence())
    assert failed.value.failures[0].code is Code.UNDEFENDED
    assert not (store.root / "sites" / "A" / "newest-step").exists()


def test_batch_norm_is_refused_before_the_run_unless_no_segmenter_is_trained_at_a_site(
    tiny: Tiny, small: Small, policy: Callable[..., str]
) -> None:
    path = policy(**DP)
    with pytest.raises(ConfigError, match=r"batch norm mixes patients.*set network\.norm: instance"):
        read_schedule(tiny(policy=path)).check()
    read_schedule(tiny(strategy=small("smdr"), policy=path)).check()


def test_weights_whose_beginning_is_not_told_are_refused_before_the_run(tiny: Tiny, policy: Callable[..., str]) -> None:
    with pytest.raises(ConfigError, match=r"\(clip\), but strategy 'fedweit' does not say what its adaptive began as"):
        read_schedule(tiny(strategy="fedweit", policy=policy(clip=1.0))).check()


def test_noise_without_a_unit_is_no_policy(tiny: Tiny, policy: Callable[..., str]) -> None:
    with pytest.raises(ConfigError, match="noise: is a multiple of clip"):
        read_schedule(tiny(policy=policy(noise=1.0))).check()


@pytest.mark.parametrize("name", ["smdr", pytest.param("smdr_onsite", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "retention", ["own", *(pytest.param(name, marks=pytest.mark.slow) for name in ("frozen", "replay"))]
)
def test_a_generator_is_bounded_from_what_it_began_as(
    name: str, retention: str, run_tiny: Run, small: Small, policy: Callable[..., str]
) -> None:
    """With the bound at almost nothing, all sites' generators are the one that they began as."""
    run = run_tiny(
        strategy={**small(name), "retention": retention},
        arrivals=["A", "B", "A"],
        policy=policy(clip=1e-9),
    )
    store = Store(run)
    server = store.schedule().new_server()
    fresh = {name: value.clone() for name, value in _fresh(server).items()}
    store.load(server)
    for generator in server.generators().values():
        for name_, value in generator.named_parameters():
            torch.testing.assert_close(value.detach(), fresh[name_], rtol=0, atol=1e-7)


def _fresh(server: Any) -> dict[str, Tensor]:
    book = server._book
    return {**book._fresh, **book._fresh_prompt}
