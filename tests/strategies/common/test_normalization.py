"""Running statistics: a seen site has those it left, an unseen one those of all pooled."""

from __future__ import annotations

import torch
from torch import nn

from sites.stream import Shape
from strategies.common.normalization import SiteStatistics
from strategies.common.segmenter import build_segmenter
from strategies.setting import Budget, NetworkConfig, Setting

SETTING = Setting(
    shape=Shape(channels=1, height=8, width=8, slices=1, structures=("square",)),
    network=NetworkConfig(widths=(4, 8), residual_units=0),
    budget=Budget(iterations=1),
    augmentation="none",
    seed=0,
    sites=("A", "B"),
    most_cases=1,
)
NAME = "model.0.adn.N.running_mean"


def seen_at(network: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """The network with the running statistics of some images alone."""
    state = {name: value.clone() for name, value in network.state_dict().items()}
    hidden = network.get_submodule("model.0.conv")(images).detach()
    state[NAME] = hidden.mean(dim=(0, 2, 3))
    state[NAME.replace("mean", "var")] = hidden.var(dim=(0, 2, 3), correction=0)
    return state


def test_each_seen_site_has_its_own_and_an_unseen_one_those_of_all_images_together() -> None:
    network = build_segmenter(SETTING)
    statistics = SiteStatistics(network, SETTING, "own")
    assert statistics.segmenter_for("A") is network
    images = {site: torch.rand(5, 1, 8, 8) * scale for site, scale in (("A", 1.0), ("B", 4.0))}
    for site, some in images.items():
        statistics.keep(site, seen_at(network, some))
    for site, some in images.items():
        assert torch.equal(statistics.segmenter_for(site).state_dict()[NAME], seen_at(network, some)[NAME])
    both = seen_at(network, torch.cat(list(images.values())))
    for name in (NAME, NAME.replace("mean", "var")):
        torch.testing.assert_close(statistics.segmenter_for("E").state_dict()[name], both[name])


def test_the_weights_are_those_of_the_network_as_it_stands() -> None:
    network = build_segmenter(SETTING)
    statistics = SiteStatistics(network, SETTING, "own")
    statistics.keep("A", network.state_dict())
    view = statistics.segmenter_for("A")
    with torch.no_grad():
        next(network.parameters()).add_(1)
    assert not torch.equal(next(view.parameters()), next(network.parameters()))
    assert torch.equal(next(statistics.segmenter_for("A").parameters()), next(network.parameters()))


def test_with_the_newest_all_sites_share_the_network() -> None:
    network = build_segmenter(SETTING)
    statistics = SiteStatistics(network, SETTING, "newest")
    statistics.keep("A", network.state_dict())
    assert statistics.segmenter_for("A") is statistics.segmenter_for("E") is network


def test_a_network_without_running_statistics_is_shared() -> None:
    setting = Setting(**{**vars(SETTING), "network": NetworkConfig(widths=(4, 8), norm="instance")})
    network = build_segmenter(setting)
    statistics = SiteStatistics(network, setting, "own")
    statistics.keep("A", network.state_dict())
    assert statistics.segmenter_for("A") is network
