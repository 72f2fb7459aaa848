"""Teach a generator one more site without losing the prompts that it has.

Five ways, all ours (the paper's abstract names none). With the first three nothing can be forgotten: `own`, each site
has diffusion weights of its own; `adapter`, the backbone stays, and a site learns a low-rank adapter of every layer
(LoRA, Hu et al., ICLR 2022) with its prompt; `frozen`, the backbone stays, and a site learns a deep prompt.
`replay`: pairs made under the earlier prompts are rehearsed (generative replay, Shin et al., NeurIPS 2017). `distill`:
under the earlier prompts the network must answer as the one before did (Li & Hoiem, ECCV 2016, on velocities).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from sites.privacy import PrivateTraining
from sites.wire import Weights
from strategies.common.augmentation import moved
from strategies.common.averaged import AveragedDescent
from strategies.common.consistency import Consistency
from strategies.common.denoising import Corruption, sample
from strategies.common.diffusion import Generator

Retention = Literal["own", "adapter", "frozen", "replay", "distill"]
Rehearsal = Callable[[Generator, Corruption, torch.Generator], Tensor]


def take(generator: Generator, names: Iterable[str]) -> dict[str, Tensor]:
    """Return a copy of some of a generator's parameters."""
    parameters = dict(generator.named_parameters())
    return {name: parameters[name].detach().clone() for name in names}


def put(generator: Generator, weights: Weights) -> Generator:
    """Set some of a generator's parameters, and return it."""
    generator.load_state_dict(dict(weights), strict=False)
    return generator


def fit(
    generator: Generator,
    images: Tensor,
    masks: Tensor,
    *,
    steps: int,
    seed: int,
    trained: Iterable[str],
    shift: float = 0.0,
    consistency: Consistency | None = None,
    rehearsal: Rehearsal | None = None,
    privacy: PrivateTraining | None = None,
) -> None:
    """Teach a generator a site's pairs, in place: images [N, C, H, W] in 0..1 and masks [N, S, H, W].

    Only the parameters named in `trained` change; they end as their exponential moving average. A pair is moved at
    random by up to `shift` of its shorter side each time it is shown. `consistency` adds a loss that holds images to
    their masks, `rehearsal` one that holds on to earlier prompts. `privacy` is what a site asks for that has it taught
    by DP-SGD; its images must then have no part in other losses, so there are none.
    """
    assert privacy is None or (rehearsal is None and consistency is None), "no other loss is private"
    config, draws = generator.config, torch.Generator().manual_seed(seed)
    corrupt = Corruption(generator, draws)

    def shown(rows: Tensor) -> Tensor:
        return generator.fold(*moved(images[rows], masks[rows], shift, draws))

    chosen = set(trained)
    for name, value in generator.named_parameters():
        value.requires_grad_(name in chosen)
    parameters = [value for value in generator.parameters() if value.requires_grad]
    descent = AveragedDescent(parameters, learning_rate=config.learning_rate, steps=steps, ema=config.ema)
    generator.train()
    if privacy is None:
        for _ in range(steps):
            rows = torch.randint(len(images), (config.batch,), generator=draws)
            loss = denoising_loss(generator, shown(rows), corrupt, consistency=consistency)
            descent.descend(loss if rehearsal is None else loss + rehearsal(generator, corrupt, draws))
    else:
        for _ in _descend_privately(generator, shown, corrupt, descent.optimizer, steps=steps, privacy=privacy):
            descent.advance()
    descent.finish()


def _descend_privately(
    generator: Generator,
    shown: Callable[[Tensor], Tensor],
    corrupt: Corruption,
    optimizer: torch.optim.Optimizer,
    *,
    steps: int,
    privacy: PrivateTraining,
) -> Iterator[None]:
    """Take gradient steps by DP-SGD; yield after each.

    Each pair is shown four times, once in each quarter of the batch, since the last quarter is of another kind: what a
    patient is shown in must not depend on how many others were drawn.
    """
    from strategies.common.private import descend_privately

    def batch(rows: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.stack(part.chunk(4), 1) for part in corrupt(shown(rows).repeat(4, 1, 1, 1)))

    def loss(answer: Callable[..., Tensor], *rows: Tensor) -> Tensor:
        noisy, image_time, mask_time, velocity, weight = rows
        mean: Tensor = (weight * (answer(noisy, image_time, mask_time) - velocity).square()).mean()
        return mean

    return descend_privately(generator, optimizer, loss, batch, privacy.begin(generator.config.batch / 2, steps))


def denoising_loss(
    generator: Generator,
    pairs: Tensor,
    corrupt: Corruption,
    token: Tensor | None = None,
    noise: Tensor | None = None,
    *,
    consistency: Consistency | None = None,
) -> Tensor:
    """Return the mean squared error of the predicted velocity, under a token [tokens, width] or the generator's own.

    With the loss of consistency, where there is one.
    """
    noisy, image_time, mask_time, velocity, weight = corrupt(pairs, noise)
    answer = generator(noisy, image_time, mask_time, _spread(token, len(pairs)))
    mean: Tensor = (weight * (answer - velocity).square()).mean()
    return mean if consistency is None else mean + consistency(generator, pairs, noisy, image_time, answer)


def rehearse_replays(before: Generator, tokens: Sequence[Tensor], count: int, seed: int) -> Rehearsal:
    """Make `count` pairs under each earlier token with the generator as it was, and denoise them along."""
    made = [before.fold(*sample(put(before, {"token": token}), count, seed + row)) for row, token in enumerate(tokens)]

    def loss(generator: Generator, corrupt: Corruption, draws: torch.Generator) -> Tensor:
        row = int(torch.randint(len(made), (1,), generator=draws))
        return denoising_loss(generator, _draw(made[row], generator.config.batch, draws), corrupt, tokens[row])

    return loss


def distil(before: Generator, tokens: Sequence[Tensor], images: Tensor, masks: Tensor) -> Rehearsal:
    """Ask for the velocities of the generator as it was, under the earlier tokens, on the new site's noisy pairs."""
    pairs = before.fold(images, masks)
    before.eval()

    def loss(generator: Generator, corrupt: Corruption, draws: torch.Generator) -> Tensor:
        row = int(torch.randint(len(tokens), (1,), generator=draws))
        noisy, image_time, mask_time, _, weight = corrupt(_draw(pairs, generator.config.batch, draws))
        token = _spread(tokens[row], len(noisy))
        with torch.no_grad():
            wanted = before(noisy, image_time, mask_time, token)
        error = generator(noisy, image_time, mask_time, token) - wanted
        mean: Tensor = (weight * error.square()).mean()
        return mean

    return loss


def _draw(pairs: Tensor, count: int, draws: torch.Generator) -> Tensor:
    return pairs[torch.randint(len(pairs), (count,), generator=draws)]


def _spread(token: Tensor | None, count: int) -> Tensor | None:
    return None if token is None else token.expand(count, -1, -1)
