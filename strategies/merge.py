"""Model merging: every site trains a segmenter of its own from a common base, and the server merges them all.

For sites that have left: nothing but the models that they released is needed. The base is what the first step taught
(merging asks for models that share most of their training). Three rules:

    fisher       w = sum_s F_s w_s / sum_s F_s        Matena & Raffel, "Merging Models with Fisher-Weighted
                                                      Averaging", NeurIPS 2022, eq. 4
    arithmetic   w = w_0 + scale sum_s (w_s - w_0)    Ilharco et al., "Editing Models with Task Arithmetic", ICLR 2023
    average      w = mean_s w_s, by cases             Wortsman et al., "Model soups", ICML 2022

Buffers of norms are averaged by cases under every rule. `latest` merges nothing: the newest model alone. The Fisher
diagonal is a mean of squared gradients, so it leaves as a GRADIENT, and only where the rule needs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from sites.seeds import seed_of
from sites.stream import Arrival
from sites.vault import Vault
from sites.wire import Kind, Payload, Weights
from strategies import Server, State, Strategy, StrategyConfig
from strategies.common.averaging import weighted_average
from strategies.common.fisher import fisher_diagonal
from strategies.common.importance import blank_parameters
from strategies.common.segmenter import blank_segmenter, build_segmenter, slices_of, train_on_arrival
from strategies.common.state import part_of
from strategies.setting import Setting


class Config(StrategyConfig):
    """Settings of merging.

    rule: how models become one; scale: of the summed task vectors (arithmetic alone)
    floor: added to every Fisher value, so that parameters that matter to nobody are averaged (fisher alone)
    """

    rule: Literal["fisher", "arithmetic", "average", "latest"] = "fisher"
    scale: float = Field(default=0.4, gt=0)
    floor: float = Field(default=1e-6, gt=0)


@dataclass(frozen=True, kw_only=True)
class Broadcast(Payload):
    """What comes down to a site: the base, or in a step's later rounds the site's own model."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]


@dataclass(frozen=True, kw_only=True)
class Upload(Payload):
    """All that leaves a site: its model, its Fisher diagonal (rule `fisher` alone), and its cases (int64 [1])."""

    segmenter: Annotated[Weights, Kind.SEGMENTER]
    fisher: Annotated[Weights, Kind.GRADIENT]
    cases: Annotated[Tensor, Kind.COUNT]


class MergeServer(Server[Broadcast, Upload]):
    """Keeps the base and the model of every arrival, and merges them."""

    def __init__(self, config: Config, setting: Setting) -> None:
        self._config = config
        self._segmenter = build_segmenter(setting)
        self._base: Weights = {k: v.clone() for k, v in self._segmenter.state_dict().items()}
        self._models: dict[tuple[int, str], Upload] = {}

    def broadcast(self, site: str, step: int) -> Broadcast:
        own = self._models.get((step, site))
        return Broadcast(segmenter=own.segmenter if own else self._base)

    def absorb(self, uploads: Mapping[str, Upload], step: int) -> None:
        self._models |= {(step, site): upload for site, upload in uploads.items()}
        models = list(self._models.values())
        if all(earlier == step for earlier, _ in self._models):
            self._base = merged(Config(rule="average"), self._base, models)
        self._segmenter.load_state_dict(merged(self._config, self._base, models))

    def predictor(self, site: str) -> nn.Module:
        return self._segmenter

    def state_dict(self) -> State:
        state = {**self._segmenter.state_dict(prefix="segmenter/"), **{f"base/{k}": v for k, v in self._base.items()}}
        for (step, site), model in self._models.items():
            state |= {f"model/{step}/{site}/segmenter/{name}": value for name, value in model.segmenter.items()}
            state |= {f"model/{step}/{site}/fisher/{name}": value for name, value in model.fisher.items()}
            state[f"model/{step}/{site}/cases/"] = model.cases
        return state

    def load_state_dict(self, state: State) -> None:
        self._segmenter.load_state_dict(part_of(state, "segmenter/"))
        self._base = part_of(state, "base/")
        fields: dict[tuple[int, str], dict[str, dict[str, Tensor]]] = {}
        for key, value in state.items():
            if key.startswith("model/"):
                _, step, site, field, name = key.split("/", 4)
                model = fields.setdefault((int(step), site), {"segmenter": {}, "fisher": {}, "cases": {}})
                model[field][name] = value
        self._models = {
            place: Upload(segmenter=model["segmenter"], fisher=model["fisher"], cases=model["cases"][""])
            for place, model in sorted(fields.items(), key=lambda item: item[0][0])
        }


def merged(config: Config, base: Weights, models: Sequence[Upload]) -> dict[str, Tensor]:
    """Return the weights that a rule makes of the models, oldest first."""
    average = weighted_average([model.segmenter for model in models], [float(model.cases) for model in models])
    if config.rule == "latest":
        return dict(models[-1].segmenter)
    if config.rule == "arithmetic":
        floats = [name for name, value in base.items() if value.is_floating_point() and ".running_" not in name]
        moved = {name: sum((model.segmenter[name] - base[name] for model in models), 0 * base[name]) for name in floats}
        return average | {name: base[name] + config.scale * moved[name] for name in floats}
    if config.rule == "fisher":
        for name in models[0].fisher:
            weights = torch.stack([model.fisher[name] + config.floor for model in models]).double()
            values = torch.stack([model.segmenter[name] for model in models])
            average[name] = ((weights * values).sum(0) / weights.sum(0)).to(values.dtype)
    return average


def learn(config: Config, setting: Setting, down: Broadcast, arrival: Arrival, vault: Vault) -> Upload:
    """Train what came down on the site's current cases, and measure its curvature where the rule asks for it."""
    weights = train_on_arrival(down.segmenter, setting, arrival)
    network = build_segmenter(setting)
    network.load_state_dict(dict(weights))
    images, _ = slices_of(arrival.cases)
    seed = seed_of(arrival.seed, "fisher")
    return Upload(
        segmenter=weights,
        fisher=fisher_diagonal(network, images, seed) if config.rule == "fisher" else {},
        cases=torch.tensor([len(arrival.cases)]),
    )


STRATEGY = Strategy(
    family="federated",
    config=Config,
    server=MergeServer,
    learn=learn,
    blank_broadcast=lambda config, setting: Broadcast(segmenter=blank_segmenter(setting)),
    blank_upload=lambda config, setting, first: Upload(
        segmenter=blank_segmenter(setting),
        fisher=blank_parameters(setting) if config.rule == "fisher" else {},
        cases=torch.zeros(1, dtype=torch.int64, device="meta"),
    ),
)
