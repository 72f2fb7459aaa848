"""What the tests share: tiny schedules, and runs of them in this process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import settings

from sites.stream import Arrival, Case, Shape
from strategies.setting import Budget, NetworkConfig, Setting

# A busy machine must not fail a property.
settings.register_profile("wardround", deadline=None)
settings.load_profile("wardround")

os.environ.update(OMP_NUM_THREADS="1", FLWR_TELEMETRY_ENABLED="0", RAY_USAGE_STATS_ENABLED="0")
os.environ.update(FLWR_LOG_LEVEL="CRITICAL", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0")

TINY = {
    "task": "prostate",
    "source": {"kind": "phantom", "size": 32, "slices": 1},
    "arrivals": ["A", "B"],
    "unseen": ["E"],
    "cases": {"train": 3, "held_out": 1},
    "strategy": "finetune",
    "network": {"widths": [4, 8], "residual_units": 0},
    "budget": {"iterations": 3, "batch": 3},
}


# Settings that any strategy may have and that make it slow, as small as they go.
SMALL = {
    "diffusion": {"start": "random", "widths": [8, 16], "steps": 2, "first_steps": 2, "batch": 2, "sampling_steps": 2},
    "replays": 4,
    "buffer": 4,
    "exemplars": 2,
    "steps": 2,
    "sampling_steps": 2,
    "images": 4,
}


@pytest.fixture
def small() -> Callable[[str], dict[str, object]]:
    """Return a function that names a strategy with its settings made small."""
    from strategies import load

    def settings(name: str) -> dict[str, object]:
        fields = load(name).config.model_fields
        return {"name": name, **{key: value for key, value in SMALL.items() if key in fields}}

    return settings


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a tiny schedule, some keys replaced (None: left out), and returns its path."""

    def write(**keys: object) -> Path:
        path = tmp_path / "tiny.yaml"
        content = {key: value for key, value in {**TINY, **keys}.items() if value is not None}
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    return write


def write_saml(root: Path) -> Path:
    """Write small volumes in the shape of the six-site prostate data: numbers with holes, a mask's name in capitals."""
    import nibabel as nib
    import numpy as np

    for site, count in {"RUNMC": 30, "BMC": 30, "I2CVB": 19, "UCL": 13, "BIDMC": 12, "HK": 12}.items():
        (root / site).mkdir(parents=True)
        for number in range(count):
            voxels = np.random.default_rng(number).integers(0, 900, (12, 12, 3)).astype(np.int16)
            mask = np.zeros((12, 12, 3), np.uint8)
            mask[3:8, 4:9, 1:] = 1
            mask[3:5, 4:6, 1] = 2 if site in ("RUNMC", "BMC") else 1
            word = "Segmentation" if site == "BMC" else "segmentation"
            name = f"Case{2 * number:02d}"
            affine = np.diag([-0.6, -0.6, 3.0, 1.0])
            nib.save(nib.Nifti1Image(voxels, affine), root / site / f"{name}.nii.gz")
            nib.save(nib.Nifti1Image(mask, affine), root / site / f"{name}_{word}.nii.gz")
    return root


def write_dofe(root: Path, cases: int = 50) -> Path:
    """Write small pictures in the shape of the four-site fundus data: masks in grey codes, some of them as colour."""
    import numpy as np
    from PIL import Image

    for domain in range(1, 5):
        for side in ("train", "test"):
            folders = [root / f"Domain{domain}" / side / "ROIs" / name for name in ("image", "mask")]
            for folder in folders:
                folder.mkdir(parents=True)
            for number in range(cases):
                pixels = np.random.default_rng(number).integers(0, 255, (16, 16, 3)).astype(np.uint8)
                mask = np.full((16, 16), 255, np.uint8)
                mask[2:14, 2:14] = 128
                mask[6:10, 6:10] = 0
                mask[2, 2:14] = 210  # resampling leaves codes between those that are meant
                Image.fromarray(pixels).save(folders[0] / f"V{number:04d}.png")
                Image.fromarray(mask if domain < 3 else np.stack([mask] * 3, -1)).save(
                    folders[1] / f"V{number:04d}.png"
                )
    return root


@pytest.fixture(scope="session")
def real_roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders in the shape of the public data sets, by the name of the schedule and of the suite that read them."""
    root = tmp_path_factory.mktemp("real")
    return {"prostate-real": write_saml(root / "saml"), "fundus-real": write_dofe(root / "dofe")}


@pytest.fixture
def plain() -> Setting:
    """A setting that is all at its smallest: one structure, 16 x 16 pixels, three iterations, sites A and B."""
    return Setting(
        shape=Shape(channels=1, height=16, width=16, slices=1, structures=("gland",)),
        network=NetworkConfig(widths=(4, 8), residual_units=0),
        budget=Budget(iterations=3, batch=4, learning_rate=1e-2),
        augmentation="none",
        seed=0,
        sites=("A", "B"),
        most_cases=4,
    )


@pytest.fixture
def disc() -> Callable[..., Arrival]:
    """Return a function that makes a site's arrival of four noisy discs, darker by `shade`."""

    def make(site: str = "A", step: int = 1, round_: int = 1, shade: float = 0.0) -> Arrival:
        axis = torch.linspace(-1, 1, 16)
        masks = ((axis[:, None] ** 2 + axis[None] ** 2) < 0.4).to(torch.uint8)[None, None]
        generator = torch.Generator().manual_seed(step)
        cases = tuple(
            Case(
                patient=str(number),
                images=(masks * (0.8 - shade) + 0.1 * torch.rand(1, 1, 16, 16, generator=generator)),
                masks=masks,
                spacing=(1.0, 1.0, 1.0),
            )
            for number in range(4)
        )
        return Arrival(site=site, step=step, round=round_, cases=cases, seed=10 * step + round_)

    return make


@pytest.fixture
def run_tiny(tiny: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Return a function that runs a tiny schedule in this process, and returns the run folder."""
    from simulator.flower.launch import launch
    from simulator.flower.server_app import Silence
    from simulator.schedule import read_schedule
    from simulator.store import Store

    def run(folder: str = "run", **keys: object) -> Path:
        schedule = read_schedule(tiny(**keys))
        schedule.check()
        store = Store.create(tmp_path / folder, schedule)
        launch(store, "local", Silence())
        return store.root

    return run
