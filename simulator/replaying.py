"""What `wardround replay` does: replays of every past site beside real images, as pictures and as a table."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isnan
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from simulator.fidelity import Fidelity, Pictures, SitePictures, measure
from simulator.loop import Progress
from simulator.report.pictures import STRUCTURE_COLOURS
from simulator.report.words import short
from simulator.schedule import Schedule
from simulator.store import Store
from simulator.terminal import narrow_table, out, progress_bar
from sites.errors import UserError
from sites.files import write_whole
from sites.seeds import seed_of, seeded
from sites.stream import Rescanning
from strategies.common.denoising import paint
from strategies.common.diffusion import Generator
from strategies.common.segmenter import slices_of

ACROSS = 10
FOLDER, OVERVIEW, FIDELITY = "replays", "all.png", "fidelity.csv"


def replay(folder: Path, count: int, held_out: int | None, *, as_json: bool) -> None:
    """Write `RUN/replays/`: a grid of pictures for each past site, and the fidelity of its replays.

    They are judged by so many held-out cases of a site, or by all where it has fewer; by those that the run scores
    where none is given.

    Raises `UserError` where the run's strategy makes no replays, or none yet.
    """
    store = Store(folder)
    with progress_bar() as bar:
        table = write_replays(store, count, held_out, bar)
    if not table:
        name = store.schedule().config.strategy.name
        raise UserError(f"{folder}: holds no replays; '{name}' makes none, or no site has learnt yet (try smdr)")
    pictures = folder / FOLDER / OVERVIEW
    if as_json:
        rows = [_defined(row) for row in table]
        out.print_json(json.dumps({"replays": str(pictures), "fidelity": rows}))
        return
    out.print(fidelity_table(table))
    out.print(f"pictures: {pictures}", soft_wrap=True)


def write_replays(store: Store, count: int, held_out: int | None, progress: Progress) -> list[Fidelity]:
    """Measure `count` replays of each past site of a run, and write table and pictures; nothing where it has none."""
    schedule = store.schedule()
    held_out = schedule.config.cases.held_out if held_out is None else held_out
    server = schedule.new_server()
    store.load(server)
    progress.doing("making replays")
    with seeded(schedule.setting.seed):
        generators = server.generators()
        replays = server.replays(count)
        sites = {site: _pictures(schedule, site, held_out, replays, generators.get(site)) for site in replays}
        if not sites:
            return []
        table = measure(sites, schedule.setting, progress)
    _write(store.root / FOLDER, sites, table)
    return table


def _pictures(
    schedule: Schedule, site: str, count: int, replays: Mapping[str, tuple[Tensor, Tensor]], generator: Generator | None
) -> SitePictures:
    visits = schedule.timeline.visits[site]
    trained = [case for visit in visits for case in schedule.source.train(site, visit.first, visit.count)]
    cases = list(schedule.source.held_out(site, count))
    held_out = Pictures(*slices_of(cases))
    return SitePictures(
        trained=Pictures(*slices_of(trained)),
        held_out=held_out,
        replayed=Pictures(*replays[site]),
        patients=[case.patient for case in cases for _ in case.images],
        painted=_painted(generator, held_out.masks, seed_of(schedule.setting.seed, "painted", site)),
        rescanned=_rescanned(schedule, site, [other for other in replays if other != site]),
    )


def _rescanned(schedule: Schedule, scanner: str, others: Sequence[str]) -> Tensor | None:
    """Return the training images of other sites as this site's scanner sees them, where the source can show that."""
    source = schedule.source
    if not isinstance(source, Rescanning) or not others:
        return None
    visits = [(site, visit) for site in others for visit in schedule.timeline.visits[site]]
    seen = [case for site, visit in visits for case in source.rescan(scanner, site, visit.first, visit.count)]
    return slices_of(seen)[0]


def _painted(generator: Generator | None, masks: Tensor, seed: int) -> Tensor | None:
    """Return images for masks, where there is a generator that can make them."""
    if generator is None or generator.config.order != "mask_first":
        return None
    return paint(generator, masks, seed)[0]


def _write(folder: Path, sites: Mapping[str, SitePictures], table: Sequence[Fidelity]) -> None:
    overview: dict[str, Pictures] = {}
    for site, pictures in sites.items():
        write_whole(folder / f"{site}.png", grid({"real": pictures.held_out, "replay": pictures.replayed}, rows=3))
        overview |= {site: pictures.held_out, f"{site} replay": pictures.replayed}
    write_whole(folder / OVERVIEW, grid(overview, rows=1))
    write_whole(folder / FIDELITY, pd.DataFrame([asdict(row) for row in table]).to_csv(index=False))


def grid(parts: Mapping[str, Pictures], rows: int) -> bytes:
    """Draw the first pictures of each part with the outlines of their masks, `rows` lines of ten each, as a PNG."""
    lines = [(name if row == 0 else "", part, row) for name, part in parts.items() for row in range(rows)]
    figure = Figure(figsize=(ACROSS + 0.6, len(lines)), dpi=90)
    places = figure.subplots(len(lines), ACROSS, squeeze=False, gridspec_kw={"wspace": 0.04, "hspace": 0.04})
    figure.subplots_adjust(left=0.06, right=0.995, top=0.995, bottom=0.005)
    for (name, part, row), across in zip(lines, places, strict=True):
        across[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
        for column, axes in enumerate(across):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if (place := row * ACROSS + column) < len(part.images):
                _draw(axes, part.images[place], part.masks[place])
    buffer = io.BytesIO()
    with mpl.rc_context({"savefig.facecolor": "white"}):
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw(axes: Axes, image: Tensor, masks: Tensor) -> None:
    axes.imshow(image.permute(1, 2, 0).numpy() if len(image) == 3 else image[0].numpy(), cmap="gray", vmin=0, vmax=1)
    for mask, colour in zip(masks, STRUCTURE_COLOURS, strict=False):
        if mask.any():
            axes.contour(mask.numpy(), levels=[0.5], colors=colour, linewidths=0.9)


def _defined(row: Fidelity) -> dict[str, object]:
    """Put null where a measure is not defined (one held-out image has no spread): JSON has no NaN."""
    values = asdict(row).items()
    return {key: None if isinstance(value, float) and isnan(value) else value for key, value in values}


def fidelity_table(table: Sequence[Fidelity]) -> Table:
    """Return a row for each site that 80 columns hold; the whole of it is in the file."""
    shown = narrow_table("How faithful the replays are (held-out images in brackets)")
    shown.padding = (0, 1, 0, 0)
    shown.caption = (
        "Real masks: images that the site's generator made for the masks of held-out ones. "
        "Nearer: the share nearer to a training image than all but one in twenty held-out ones."
    )
    shown.add_column("site", overflow="fold", min_width=4)
    for column in (
        "hits",
        "segmenter\nDice",
        "real\nmasks",
        "di-\nverse",
        "nearest\nimage",
        "nearer\n(.05)",
        "95 %",
        "real\nmasks",
    ):
        shown.add_column(column, justify="right", no_wrap=True)
    for row in table:
        shown.add_row(
            escape(row.site),
            f"{short(row.hits, 2)} ({short(row.real_hits, 2)})",
            f"{short(row.dice, 3)} ({short(row.real_dice, 3)})",
            short(row.painted_dice, 3),
            short(row.diversity, 2),
            short(row.nearest, 2),
            short(row.nearer, 2),
            f"{short(row.nearer_low, 2)}\N{EN DASH}{short(row.nearer_high, 2)}",
            short(row.painted_nearer, 2),
        )
    return shown
