"""FedBN: norms never leave, each site is scored with its own, and an unseen one measures its images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from simulator.store import Store
from sites.stream import Arrival
from sites.vault import Vault
from strategies.common.segmenter import build_segmenter, slices_of
from strategies.fedbn import Config, FedBNServer, at_home, home_names, learn, measured
from strategies.setting import Setting

Disc = Callable[..., Arrival]


def norm_names(network: nn.Module) -> set[str]:
    """The names of all that belongs to a batch norm, found by another road than the strategy's own."""
    return {
        f"{path}.{name}"
        for path, module in network.named_modules()
        if type(module).__name__.startswith("BatchNorm")
        for name in module.state_dict()
    }


def test_no_norm_leaves_and_all_of_them_are_in_the_vault(plain: Setting, disc: Disc, tmp_path: Path) -> None:
    vault, network = Vault(tmp_path, 1), build_segmenter(plain)
    up = learn(Config(), plain, FedBNServer(Config(), plain).broadcast("A", 1), disc(), vault)
    norms = norm_names(network)
    assert norms
    assert not norms & up.segmenter.keys()
    assert (vault.get("norms") or {}).keys() == norms
    assert norms | up.segmenter.keys() == network.state_dict().keys()


def test_a_site_goes_on_with_its_own_norms_and_is_scored_with_them(plain: Setting, disc: Disc, tmp_path: Path) -> None:
    server, images = FedBNServer(Config(), plain), slices_of(disc().cases)[0]
    vaults = {site: Vault(tmp_path / site, 1) for site in ("A", "B")}
    for round_ in (1, 2):
        ups = {
            site: learn(Config(), plain, server.broadcast(site, 1), disc(site, 1, round_, shade), vaults[site])
            for site, shade in (("A", 0.0), ("B", 0.4))
        }
        server.absorb(ups, 1)
    sent = server.predictor("A").state_dict()
    at = {site: at_home(Config(), plain, sent, images, vault) for site, vault in vaults.items()}
    counter = next(name for name in sent if name.endswith("num_batches_tracked"))
    assert int(at["A"][counter]) == 6
    assert int(sent[counter]) == 0
    for name in sent:
        same = torch.equal(at["A"][name], at["B"][name])
        assert same or name in home_names(Config(), plain)
    assert any(not torch.equal(at["A"][name], at["B"][name]) for name in home_names(Config(), plain))


def test_an_unseen_site_measures_its_own_images(plain: Setting, disc: Disc, tmp_path: Path) -> None:
    network, images = build_segmenter(plain), slices_of(disc().cases)[0]
    found = at_home(Config(), plain, network.state_dict(), images, Vault(tmp_path, 1))
    first = next(path for path, module in network.named_modules() if isinstance(module, nn.BatchNorm2d))
    convolved = network.get_submodule(first.replace("adn.N", "conv"))(images)
    torch.testing.assert_close(found[f"{first}.running_mean"], convolved.mean((0, 2, 3)))
    torch.testing.assert_close(found[f"{first}.running_var"], convolved.var((0, 2, 3)))
    network.load_state_dict(measured(plain, network.state_dict(), images))
    again = build_segmenter(plain).train()
    torch.testing.assert_close(network.eval()(images), again(images), rtol=1e-2, atol=1e-2)


def test_shared_norms_are_federated_averaging(plain: Setting, disc: Disc, tmp_path: Path) -> None:
    config = Config(norms="shared")
    server = FedBNServer(config, plain)
    up = learn(config, plain, server.broadcast("A", 1), disc(), Vault(tmp_path, 1))
    assert up.segmenter.keys() == build_segmenter(plain).state_dict().keys()


@pytest.mark.parametrize("name", ["fedbn", "fedweit"])
def test_a_run_scores_each_site_with_what_it_keeps(name: str, run_tiny: Callable[..., Path]) -> None:
    from simulator.report.load import view_of

    store = Store(run_tiny(strategy=name, stay=1, budget={"iterations": 4, "rounds": 2, "batch": 3}))
    assert store.done
    samples = view_of(store).samples
    assert [list(sample.predictions) for sample in samples] == [[2], [2], [2]]
