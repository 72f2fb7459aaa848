"""Networks on which attacks must succeed, and such on which they must not."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from sites.seeds import seed_of
from sites.stream import Case
from strategies.common.diffusion import Generator, build_generator
from strategies.common.retention import fit
from strategies.common.segmenter import build_segmenter, slices_of, train_segmenter
from strategies.setting import Setting

FEW = 4


def untrained_generator(like: Generator, setting: Setting) -> Generator:
    """Return a generator of the same form that saw no site."""
    return build_generator(like.config, like.shape, seed_of(setting.seed, "exposure", "untrained"))


def over_trained_generator(like: Generator, setting: Setting, few: tuple[Case, ...], steps: int) -> Generator:
    """Return a generator of the same form, all of it trained on a few cases for many steps."""
    generator = untrained_generator(like, setting)
    everything = [name for name, _ in generator.named_parameters()]
    fit(generator, *slices_of(few), steps=steps, seed=seed_of(setting.seed, "exposure", "fit"), trained=everything)
    return generator


def over_trained_segmenter(setting: Setting, few: tuple[Case, ...], steps: int) -> nn.Module:
    """Return a segmenter trained on a few cases for many steps, with nothing to keep it from learning them by heart."""
    network, plain = build_segmenter(setting), replace(setting, augmentation="none")
    seed = seed_of(setting.seed, "exposure", "fit")
    train_segmenter(network, plain, *slices_of(few), iterations=steps, seed=seed)
    return network
