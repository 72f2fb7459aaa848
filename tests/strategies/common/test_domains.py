"""Several domains at once: made-up scanners within a site, or sites pooled at a reference-only server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from simulator.store import Store
from sites.errors import ConfigError
from sites.ledger import read_rows
from sites.stream import Arrival
from sites.vault import Vault
from strategies.common.alignment import Batch, Domain
from strategies.common.domains import (
    DomainsConfig,
    DomainServer,
    as_scanned,
    drawn,
    learn,
)
from strategies.common.segmenter import slices_of
from strategies.setting import Setting

Disc = Callable[..., Arrival]
POOLED = DomainsConfig(domains="pooled")


def test_scanners_change_the_appearance_and_no_mask(disc: Disc) -> None:
    domain = Domain(*slices_of(disc().cases))
    found = as_scanned(domain, 4, seed=3)
    assert found[0] is domain
    assert all(torch.equal(one.masks, domain.masks) for one in found)
    means = [float(one.images[one.masks.bool()].mean()) for one in found]
    assert len({round(mean, 3) for mean in means}) == 4
    assert all(float(one.images.min()) >= 0 and float(one.images.max()) <= 1 for one in found)
    again = as_scanned(domain, 4, seed=3)
    assert all(torch.equal(one.images, other.images) for one, other in zip(found, again, strict=True))


def test_an_iteration_draws_from_every_domain_and_no_more_than_a_batch(plain: Setting, disc: Disc) -> None:
    domains = as_scanned(Domain(*slices_of(disc().cases)), 2, seed=0)
    found = list(drawn(plain, domains, 5, seed=0))
    assert len(found) == 5
    assert all([len(batch.images) for batch in batches] == [2, 2] for batches in found)


def test_a_pool_keeps_what_all_sites_sent_and_trains_on_each_as_a_domain(
    plain: Setting, disc: Disc, tmp_path: Path
) -> None:
    counts: list[tuple[int, int]] = []

    def count(
        config: DomainsConfig, network: nn.Module, setting: Setting, batches: Iterator[list[Batch]], iterations: int
    ) -> None:
        counts.append((len(next(batches)), iterations))

    server, resumed = DomainServer(count, POOLED, plain), DomainServer(count, POOLED, plain)
    for step, site in enumerate("AB", start=1):
        up = learn(POOLED, plain, server.broadcast(site, step), disc(site, step), Vault(tmp_path, step), train=count)
        assert up.segmenter == {}
        assert torch.equal(up.images["images"][: int(up.labels["held"])], slices_of(disc(site, step).cases)[0])
        server.absorb({site: up}, step)
    assert counts == [(POOLED.scanners, 3), (2, 6)]
    resumed.load_state_dict(server.state_dict())
    resumed.absorb({"A": up}, 3)
    assert counts[-1] == (2, 9)
    assert {key: len(value) for key, value in resumed.state_dict().items() if key.endswith("/images")} == {
        "pool/A/images": 8,
        "pool/B/images": 4,
    }


@pytest.mark.parametrize("name", ["mldg", "fish"])
def test_pooling_needs_a_policy_that_admits_images(name: str, run_tiny: Callable[..., Path]) -> None:
    strategy = {"name": name, "domains": "pooled"}
    with pytest.raises(ConfigError, match="does not admit image, label"):
        run_tiny("refused", strategy=strategy)
    budget = {"iterations": 4, "rounds": 2, "batch": 3}
    store = Store(run_tiny("admitted", strategy=strategy, policy="reference-only", budget=budget))
    assert store.done
    kinds = {row["kind"] for row in read_rows(store.root / "receipts.jsonl") if row["purpose"] == "learn"}
    assert kinds == {"image", "label"}
