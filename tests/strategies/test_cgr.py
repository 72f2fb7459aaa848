"""CGR: what leaves a site, and that a later site learns on replays of the earlier ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from simulator.store import Store
from sites.ledger import read_rows
from sites.seeds import seeded
from sites.stream import Arrival
from sites.vault import Vault
from strategies.cgr import CgrServer, Config, learn, remake
from strategies.common.denoising import sample
from strategies.setting import Setting

Disc = Callable[..., Arrival]
Run = Callable[..., Path]
Small = Callable[[str], dict[str, object]]

CONFIG = Config.model_validate(
    {
        "diffusion": {"start": "random", "widths": [8, 16], "first_steps": 2, "steps": 2, "sampling_steps": 2},
        "replays": 4,
    }
)


def test_the_server_replays_a_site_from_what_it_released(plain: Setting, disc: Disc, tmp_path: Path) -> None:
    longer = {"first_steps": 60, "batch": 8, "learning_rate": 5e-3, "sampling_steps": 4}
    config = CONFIG.model_copy(update={"diffusion": CONFIG.diffusion.model_copy(update=longer)})
    server = CgrServer(config, plain)
    down, arrival = server.broadcast("A", 1), disc()
    with seeded(1):
        up = learn(config, plain, down, arrival, Vault(tmp_path, 1))
    server.absorb({"A": up}, 1)
    images, masks = server.replays(16)["A"]
    assert images[masks > 0].mean() > images[masks == 0].mean() + 0.15, "bright where the mask is"
    guarded = remake(config, plain, down, up, "A")
    assert guarded is not None
    assert torch.equal(guarded(4, 0), sample(server.generators()["A"], 4, 0)[0])


def test_a_later_site_rehearses_the_earlier_one(plain: Setting, disc: Disc, tmp_path: Path) -> None:
    trained = []
    for config in (CONFIG, CONFIG.model_copy(update={"replays": 0})):
        server = CgrServer(config, plain)
        for step, site in enumerate("AB", start=1):
            with seeded(step):
                arrival = disc(site, step, shade=0.5 * (step - 1))
                up = learn(config, plain, server.broadcast(site, step), arrival, Vault(tmp_path, step))
                server.absorb({site: up}, step)
        trained.append(up.segmenter)
    assert any(not torch.equal(value, trained[1][name]) for name, value in trained[0].items())


def test_only_the_embedding_of_an_adapter_leaves_and_nothing_of_a_generator_where_it_is_off(
    run_tiny: Run, small: Small
) -> None:
    fields = []
    for replays in (4, 0):
        folder = run_tiny(f"run-{replays}", strategy={**small("cgr"), "replays": replays})
        rows = [row for row in read_rows(folder / "receipts.jsonl") if row["purpose"] == "learn"]
        fields.append({row["field"] for row in rows})
        prompts = [row for row in rows if row["field"] == "prompt"]
        assert all(row["bytes"] == 4 * 32 for row in prompts)
    assert fields == [{"segmenter", "diffusion", "prompt"}, {"segmenter"}]


def test_the_drift_of_earlier_embeddings_is_logged(run_tiny: Run, small: Small) -> None:
    kept = Store(run_tiny(strategy=small("cgr"))).diagnostics()
    assert [(row["name"], row["site"], row["value"] > 0) for row in kept] == [("drift", "A", True)]


def test_image_and_mask_are_never_made_one_after_the_other() -> None:
    with pytest.raises(ValidationError, match="joint"):
        Config.model_validate({"diffusion": {"order": "mask_first"}})
