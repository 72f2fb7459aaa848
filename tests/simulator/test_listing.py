"""The list of strategies says what their declarations say, and stands in the docs as it is printed."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from simulator.listing import HEADINGS, Release, every, listed, markdown
from strategies import STRATEGY_FILES

DOCS = Path(__file__).parents[2] / "docs" / "strategies.md"


def test_the_table_in_the_docs_is_up_to_date() -> None:
    text = DOCS.read_text(encoding="utf-8")
    table = text.split("<!-- wardround strategies --format markdown -->\n")[1].split("<!-- end -->")[0]
    assert table == markdown(every(STRATEGY_FILES)), "put the output of `wardround strategies --format markdown` there"


def test_kinds_bytes_vault_and_policy_are_listed() -> None:
    joint, fedbn = listed("joint"), listed("fedbn")
    assert joint.refused == ("image", "label")
    assert joint.cells[-1] == "no: image, label"
    assert fedbn.refused == ()
    assert fedbn.keeps.keys() == {"norms"}
    assert fedbn.what.startswith("FedBN:")
    fedavg = listed("fedavg")
    assert sum(release.first for release in fedbn.releases) + fedbn.keeps["norms"] == sum(
        release.first for release in fedavg.releases
    )


def test_what_leaves_in_the_first_turn_alone_is_said() -> None:
    assert str(Release(kind="diffusion", first=2_000_000, later=0)) == "diffusion 2.0 MB (first turn of a run)"
    assert str(Release(kind="diffusion", first=2_000_000, later=2_000_000)) == "diffusion 2.0 MB"


@pytest.mark.parametrize("output", ["text", "json", "markdown"])
def test_the_command_prints_it(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from simulator import listing
    from simulator.cli import app

    monkeypatch.setattr(listing, "known", lambda: ("fedprox", "joint"))
    printed = io.StringIO()
    monkeypatch.setattr(listing.out, "file", printed)
    app(["strategies", "--format", output], standalone_mode=False)
    text = printed.getvalue()
    assert "fedprox" in text
    if output == "json":
        assert [row["name"] for row in json.loads(text)] == ["joint", "fedprox"]
    if output == "markdown":
        assert text.splitlines()[0] == f"| {' | '.join(HEADINGS)} |"
