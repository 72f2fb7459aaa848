"""Which of a step's rounds a server is in: what a site learnt is consolidated in the last one alone.

In the rounds before it the site will come again, and must not be held to where it stands half way.
"""

from __future__ import annotations

import torch

from strategies import State
from strategies.setting import Setting


class Turns:
    """Counts how often each site has learnt; in every step that it arrives in, that is once a round."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._taken = torch.zeros(len(setting.sites), dtype=torch.int64)

    def take(self, site: str) -> bool:
        """Count a turn of a site, and say whether it was the last of the step."""
        row = self._setting.sites.index(site)
        self._taken[row] += 1
        return int(self._taken[row]) % self._setting.budget.rounds == 0

    @property
    def any_done(self) -> bool:
        """Whether some site has been through all rounds of a step."""
        return bool((self._taken >= self._setting.budget.rounds).any())

    def state_dict(self) -> State:
        """Return the counts, for a run that resumes."""
        return {"turns": self._taken.clone()}

    def load_state_dict(self, state: State) -> None:
        """Take back what `state_dict` returned, out of a state that may hold more."""
        self._taken = state["turns"].clone()
