"""PGA over exemplars: the domains that the gradients of the newest site are aligned with."""

from __future__ import annotations

import torch

from strategies.pga_exemplar import Broadcast, past_of


def test_each_earlier_site_is_a_domain_of_its_own() -> None:
    images = torch.cat([torch.full((count, 1, 2, 2), value) for count, value in ((2, 1.0), (1, 3.0), (3, 0.0))])
    down = Broadcast(segmenter={}, images=images, masks=(images > 2).to(torch.uint8), counts=torch.tensor([2, 0, 1]))
    first, second = past_of(down)
    assert first.images.flatten().unique().tolist() == [1.0]
    assert len(first.images) == 2
    assert second.images.flatten().unique().tolist() == [3.0]
    assert second.masks.dtype == torch.float32
    assert bool(second.masks.all())


def test_without_exemplars_there_is_no_past() -> None:
    blank = torch.zeros(4, 1, 2, 2)
    down = Broadcast(segmenter={}, images=blank, masks=blank.to(torch.uint8), counts=torch.zeros(2, dtype=torch.int64))
    assert past_of(down) == []
