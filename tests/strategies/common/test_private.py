"""A private step moves the network by no more than one clipped gradient a patient, whatever the patient's data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from simulator.schedule import read_schedule
from sites.privacy import DpSgd, PrivateTraining
from sites.secret import Secret
from sites.stream import Arrival, Case
from sites.vault import Vault
from sites.wire import leaves_of
from strategies import STRATEGY_FILES, load
from strategies.common.diffusion import DiffusionConfig
from strategies.common.modulation import ModulationConfig, learn_prompt, new_generator, split_names
from strategies.common.private import descend_privately
from strategies.common.retention import take
from strategies.common.segmenter import build_segmenter, train_on_arrival
from strategies.setting import NetworkConfig, Setting

ALMOST_NONE = 1e-20
PRIVATE = [name for name in STRATEGY_FILES if load(name).trains_privately(load(name).config())]


def cases(count: int, seed: int = 0) -> tuple[Case, ...]:
    draws = torch.Generator().manual_seed(seed)
    return tuple(
        Case(
            patient=str(number),
            images=torch.rand(1, 1, 16, 16, generator=draws),
            masks=(torch.rand(1, 1, 16, 16, generator=draws) > 0.5).to(torch.uint8),
            spacing=(1.0, 1.0, 1.0),
        )
        for number in range(count)
    )


def private(held: tuple[Case, ...], clip: float, noise: float) -> PrivateTraining:
    return PrivateTraining(DpSgd(noise_multiplier=noise, max_grad_norm=clip, delta=1e-3), held, Secret(b"a key"))


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same, but for what gradients of almost nothing do to parameters that are zero."""
    return torch.allclose(one, other, rtol=0, atol=1e-9)


def linear_step(values: Tensor, clip: float, noise: float = ALMOST_NONE) -> Tensor:
    """Return the sum of clipped gradients of w . x, which are x itself, as one step of plain descent applies it."""
    network = nn.Linear(values.shape[1], 1, bias=False)
    nn.init.zeros_(network.weight)
    session = private(cases(len(values)), clip, noise).begin(len(values), 1)

    def loss(answer: Callable[..., Tensor], row: Tensor) -> Tensor:
        return answer(row).sum()

    steps: Iterator[None] = descend_privately(
        network, torch.optim.SGD(network.parameters(), lr=1.0), loss, lambda rows: (values[rows],), session
    )
    assert len(list(steps)) == 1
    return -network.weight.detach()[0] * len(values)


def test_each_patients_gradient_is_clipped_by_itself() -> None:
    values = torch.tensor([[3.0, 4.0], [0.3, -0.4], [-60.0, 80.0]])
    found = linear_step(values, clip=1.0)
    torch.testing.assert_close(found, torch.tensor([0.6 + 0.3 - 0.6, 0.8 - 0.4 + 0.8]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("outlier", [1e-3, 1.0, 1e6])
def test_one_patient_changes_the_sum_by_no_more_than_the_bound(outlier: float) -> None:
    values = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    other = values.clone()
    other[2] = outlier
    without = values.clone()
    without[2] = 0.0
    for changed in (values, other):
        assert float((linear_step(changed, 0.5) - linear_step(without, 0.5)).norm()) <= 0.5 + 1e-5


def test_the_noise_on_the_sum_is_the_policys() -> None:
    noise = linear_step(torch.zeros(4, 20_000), clip=2.0, noise=1.5)
    assert float(noise.std()) == pytest.approx(3.0, rel=0.03)


def test_without_clipping_and_noise_a_full_draw_is_plain_training(plain: Setting) -> None:
    """All patients drawn, one slice each: the mean of their gradients is that of a whole batch, but for the Dice."""
    setting = replace(plain, network=NetworkConfig(widths=(4, 8), residual_units=0, norm="instance"))
    held = cases(4)
    arrival = Arrival(site="A", step=1, round=1, cases=held, seed=3)
    start = build_segmenter(setting).state_dict()
    after = train_on_arrival(start, setting, replace(arrival, privacy=private(held, 1e6, 1e-12)))
    ordinary = train_on_arrival(start, setting, arrival)
    moved = torch.cat([(after[name] - start[name]).flatten() for name in start])
    expected = torch.cat([(ordinary[name] - start[name]).flatten() for name in start])
    assert float(torch.cosine_similarity(moved, expected, dim=0)) > 0.9


@pytest.mark.parametrize(
    "retention", ["own", *(pytest.param(name, marks=pytest.mark.slow) for name in ("adapter", "frozen"))]
)
def test_a_generator_learns_its_prompt_privately(retention: str, plain: Setting) -> None:
    diffusion = DiffusionConfig(start="random", widths=(8, 16), steps=2, first_steps=2, batch=6, sampling_steps=2)
    config = ModulationConfig.model_validate({"diffusion": diffusion, "retention": retention, "rank": 2})
    generator = new_generator(config, plain)
    shared = take(generator, split_names(config, generator)[1])

    def learnt(seed: int, clip: float, **other: float) -> Tensor:
        held, settings = cases(3, seed), config.model_copy(update=other)
        arrival = Arrival(site="A", step=1, round=1, cases=held, seed=3, privacy=private(held, clip, 1e-12))
        prompt, _ = learn_prompt(settings, plain, shared, {}, arrival)
        assert [(part.sample_rate, part.steps) for part in arrival.privacy.spent] == [(1.0, 2)]  # type: ignore[union-attr]
        return torch.cat([value.flatten() for value in prompt.values()])

    assert same(learnt(0, ALMOST_NONE), learnt(1, ALMOST_NONE))
    assert not same(learnt(0, 1.0), learnt(1, 1.0))
    assert same(learnt(0, 1.0), learnt(0, 1.0, consistency=0.1)), "a segmenter of real images had a say"
    assert same(learnt(0, 1.0), learnt(0, 1.0, calibration=2)), "the shares of real masks had a say"


def test_a_batch_norm_cannot_be_trained_privately(plain: Setting) -> None:
    held = cases(4)
    arrival = Arrival(site="A", step=1, round=1, cases=held, seed=3, privacy=private(held, 1.0, 1.0))
    with pytest.raises(RuntimeError, match="in-place"):
        train_on_arrival(build_segmenter(plain).state_dict(), plain, arrival)


@pytest.mark.parametrize("name", PRIVATE)
def test_a_strategy_that_says_it_trains_privately_learns_of_patients_in_no_other_way(
    name: str, tiny: Callable[..., Path], small: Callable[[str], dict[str, object]], tmp_path: Path
) -> None:
    """With gradients clipped to almost nothing, other patients give the same upload."""
    network = {"widths": [4, 8], "residual_units": 0, "norm": "instance"}
    schedule = read_schedule(tiny(strategy=small(name), network=network))
    strategy, config, setting = schedule.strategy, schedule.strategy_config, schedule.setting
    down = strategy.server(config, setting).broadcast("A", 1)

    def upload(first: int, clip: float) -> dict[str, Tensor]:
        held = schedule.source.train("A", first, 3)
        arrival = Arrival(site="A", step=1, round=1, cases=held, seed=5, privacy=private(held, clip, 1e-12))
        return leaves_of(strategy.learn(config, setting, down, arrival, Vault(tmp_path / f"{first}{clip}", 1)))

    one, other = upload(0, ALMOST_NONE), upload(3, ALMOST_NONE)
    assert all(same(one[key], other[key]) for key in one)
    one, other = upload(0, 1.0), upload(3, 1.0)
    assert not all(same(one[key], other[key]) for key in one)
