"""Tries to get out: the patient's name in the text of a warning."""

from __future__ import annotations

import sys
import warnings
from typing import Any

from torch import Tensor

from sites.stream import Arrival
from sites.vault import Vault
from strategies import finetune
from tests.hostile.base import hostile


def shout(message: Warning | str, *rest: Any, **more: Any) -> None:
    """Show a warning whatever filter or recorder there is."""
    print(message, file=sys.stderr)


def tamper(weights: dict[str, Tensor], arrival: Arrival, vault: Vault) -> Any:
    """Try the patient's name in the text of a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = shout
        warnings.warn(f"patient {arrival.cases[0].patient}", stacklevel=1)
    return finetune.Upload(segmenter=weights)


STRATEGY = hostile(tamper)
