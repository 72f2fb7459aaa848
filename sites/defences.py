"""Bounds and blurs what a release says about its site: the change of its weights is clipped, and noise added.

The Gaussian mechanism (Dwork & Roth, "The Algorithmic Foundations of Differential Privacy", 2014, appendix A) on the
whole change that a site made to what came down to it, as in McMahan et al., "Learning Differentially Private Recurrent
Language Models", ICLR 2018. What it protects is the site's contribution as a whole, whatever its training did.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from sites.secret import Secret
from sites.wire import Kind, Leaf, Manifest, Payload, leaves_of

WEIGHTS = (Kind.PROMPT, Kind.DIFFUSION, Kind.GENERATOR, Kind.SEGMENTER)
COVERED = (*WEIGHTS, Kind.GRADIENT)

VARIANCE = "running_var"
# A batch norm's variance may come near zero, whose logarithm would use up the whole bound.
LEAST_VARIANCE = 1e-5


def covers(leaf: Leaf) -> bool:
    """Whether a leaf is clipped and noised: weights and gradients, but for whole numbers (a batch norm's counter)."""
    return leaf.kind in COVERED and leaf.dtype == "float32"


def without_start(manifest: Manifest, start: Mapping[str, Tensor]) -> tuple[Leaf, ...]:
    """Return the weights of which nobody says what they began as, so that their change can't be told."""
    return tuple(
        leaf
        for leaf in manifest
        if covers(leaf)
        and leaf.kind in WEIGHTS
        and (leaf.key not in start or tuple(start[leaf.key].shape) != leaf.shape)
    )


def clip(payload: Payload, manifest: Manifest, start: Mapping[str, Tensor], bound: float) -> float:
    """Scale the change of all covered leaves, in place, to a joint L2 norm of at most `bound`; return the scale.

    start: what the weights began as, by leaf key. Gradients are a change as they stand. A running variance counts and
        moves as its logarithm, so that it stays positive.
    """
    changes = _changes(payload, manifest, start)
    norm = float(torch.stack([change.square().sum() for change in changes.values()]).sum().sqrt()) if changes else 0.0
    scale = min(1.0, bound / norm) if norm > 0 else 1.0
    if scale < 1.0:
        _put(payload, manifest, start, {key: scale * change for key, change in changes.items()})
    return scale


def blur(payload: Payload, manifest: Manifest, start: Mapping[str, Tensor], deviation: float, secret: Secret) -> None:
    """Add Gaussian noise of a standard deviation to the change of all covered leaves, in place.

    The same payload and start get the same noise: a turn that is done again releases the same bytes, and repeating it
    does not average the noise away. Any other gets other noise: their difference does not cancel it.
    """
    changes = _changes(payload, manifest, start)
    draws = secret.draws("release", _digest(payload, start))
    noised = {key: change + deviation * draws.normal(change.shape) for key, change in changes.items()}
    _put(payload, manifest, start, noised)


def _changes(payload: Payload, manifest: Manifest, start: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the change of each covered leaf, float64."""
    found = {}
    tensors = leaves_of(payload)
    for leaf in filter(covers, manifest):
        value = tensors[leaf.key].double()
        if leaf.kind in WEIGHTS:
            began = start[leaf.key].double()
            value = _log(value) - _log(began) if _is_variance(leaf) else value - began
        found[leaf.key] = value
    return found


def _put(payload: Payload, manifest: Manifest, start: Mapping[str, Tensor], changes: Mapping[str, Tensor]) -> None:
    tensors = leaves_of(payload)
    for leaf in filter(covers, manifest):
        value = changes[leaf.key]
        if leaf.kind in WEIGHTS:
            began = start[leaf.key].double()
            value = (_log(began) + value).exp() if _is_variance(leaf) else began + value
        tensors[leaf.key].copy_(value)


def _is_variance(leaf: Leaf) -> bool:
    return leaf.name.rpartition(".")[2] == VARIANCE


def _log(variance: Tensor) -> Tensor:
    return variance.clamp(min=LEAST_VARIANCE).log()


def _digest(payload: Payload, start: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for tensors in (leaves_of(payload), start):
        for key, tensor in tensors.items():
            digest.update(key.encode() + tensor.detach().contiguous().numpy(force=True).tobytes())
    return digest.hexdigest()
