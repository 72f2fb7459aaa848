"""What the server keeps of each site, what it shows to another, and what it replays."""

from __future__ import annotations

import pytest
import torch

from sites.stream import Shape
from strategies.common.modulation import ModulationConfig, learnt_rows, rows_of
from strategies.common.promptbook import PromptBook
from strategies.common.replays import make_replays
from strategies.common.retention import Retention
from strategies.setting import Budget, NetworkConfig, Setting

SETTING = Setting(
    shape=Shape(channels=1, height=16, width=16, slices=1, structures=("gland",)),
    network=NetworkConfig(widths=(4, 8), residual_units=0),
    budget=Budget(iterations=2),
    augmentation="none",
    seed=0,
    sites=("A", "B", "C"),
    most_cases=1,
)


def config(retention: Retention = "own", **changed: object) -> ModulationConfig:
    tiny = {"start": "random", "widths": [8, 16], "sampling_steps": 2}
    return ModulationConfig.model_validate({"diffusion": tiny, "replays": 3, "retention": retention, **changed})


def filled(settings: ModulationConfig) -> PromptBook:
    """A book in which A and B have learnt: everything is moved by .1 for A, by .2 for B."""
    book = PromptBook(settings, SETTING)
    for shift, site in enumerate(("A", "B"), start=1):
        prompt = {
            name: torch.full_like(value, 0.1 * shift) for name, value in rows_of(book.prompts_for())[site].items()
        }
        diffusion = {name: value + 0.01 * shift for name, value in book.diffusion_for(site).items()}
        book.add(site, prompt, diffusion if settings.trains_diffusion(first=shift == 1) else {})
    return book


@pytest.mark.parametrize("masks", [{}, {"masks": "shared"}])
@pytest.mark.parametrize("retention", ["own", "adapter", "frozen", "replay"])
def test_a_book_comes_back_with_the_same_replays(retention: Retention, masks: dict[str, object]) -> None:
    settings = config(retention, **masks)
    book, again = filled(settings), PromptBook(settings, SETTING)
    again.load_state_dict(book.state_dict())
    assert again.learnt.tolist() == [1, 1, 0]
    for site, domain in book.replays().items():
        assert torch.equal(domain.images, again.replays()[site].images)


def test_masks_of_a_newcomer_come_into_earlier_replays_where_they_are_shared_and_no_generator_drifts() -> None:
    book = filled(config(masks="shared"))
    before = book.replays()["A"]
    prompt, diffusion = rows_of(book.prompts_for())["B"], book.diffusion_for("B")
    book.add("C", prompt, {name: value - 0.3 for name, value in diffusion.items()})
    assert not torch.equal(before.images, book.replays()["A"].images)
    assert {found.site: found.value for found in book.drift} == {"A": 0, "B": 0}


@pytest.mark.parametrize(("retention", "same"), [("own", True), ("adapter", True), ("frozen", True), ("replay", False)])
def test_whether_a_later_site_moves_the_replays_of_an_earlier_one(retention: Retention, same: bool) -> None:
    book = PromptBook(config(retention), SETTING)
    prompt = rows_of(book.prompts_for())["A"]
    moved = {name: value + 0.01 for name, value in book.diffusion_for("A").items()}
    book.add("A", prompt, moved)
    before = book.replays()["A"].images.clone()
    later = {name: value + 0.05 for name, value in moved.items()}
    book.add("B", {n: v + 1 for n, v in prompt.items()}, later if config(retention).trains_diffusion(False) else {})
    assert torch.equal(book.replays()["A"].images, before) is same
    assert [(found.name, found.site, found.value == 0) for found in book.drift] == [("drift", "A", same)]


def test_only_sites_that_have_learnt_have_a_prompt() -> None:
    book = PromptBook(config(), SETTING)
    assert learnt_rows(book.prompts_for(), book.learnt, SETTING) == {}
    book.add("B", rows_of(book.prompts_for())["B"], {})
    assert book.learnt.tolist() == [0, 1, 0]
    assert list(learnt_rows(book.prompts_for(), book.learnt, SETTING)) == ["B"]


def test_a_site_that_needs_no_other_prompt_is_sent_none() -> None:
    settings = ModulationConfig.model_validate(
        {"diffusion": {"sampling_steps": 2}, "replays": 3, "retention": "adapter", "begin": "backbone"}
    )
    rows = rows_of(filled(settings).prompts_for("A"))
    assert all(value.any() for value in rows["A"].values())
    assert not any(value.any() for value in rows["B"].values())
    assert any(value.any() for value in rows_of(filled(config("replay")).prompts_for("A"))["B"].values())


@pytest.mark.parametrize(
    ("begin", "start", "newcomer"),
    [
        ("last_site", "procedural", "B"),
        ("last_site", "random", "B"),
        ("backbone", "procedural", None),
        ("backbone", "random", "A"),
    ],
)
def test_whose_weights_a_site_begins_with(begin: str, start: str, newcomer: str | None) -> None:
    form = {"sampling_steps": 2} | ({} if start == "procedural" else {"start": "random", "widths": [8, 16]})
    settings = config(begin=begin, diffusion=form)
    book, fresh = filled(settings), PromptBook(settings, SETTING).diffusion_for("C")
    for site, whose in (("A", "A"), ("B", "B"), ("C", newcomer)):
        begun, expected = book.diffusion_for(site), book.diffusion[whose] if whose else fresh
        assert all(torch.equal(begun[name], value) for name, value in expected.items())
        sent = rows_of(book.prompts_for(site))
        assert [other for other in sent if any(value.any() for value in sent[other].values())] == (
            [whose] if whose else []
        )


def test_pairs_between_two_sites_are_of_neither() -> None:
    book = filled(config(virtual=5))
    (between,) = book.virtual()
    assert between.images.shape == (5, 1, 16, 16)
    assert filled(config()).virtual() == []
    real = make_replays(config(), SETTING, {"A": {**book.diffusion_for("A"), **book.prompts["A"]}}, 5)["A"]
    assert not torch.equal(real.images, between.images)
