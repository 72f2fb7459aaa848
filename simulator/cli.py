"""The command `wardround`. Heavy imports wait until a command needs them."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from simulator.choices import Format, FormatOption, GridName, ListFormat, Track
from simulator.cli_sites import sites_app

app = typer.Typer(
    name="wardround",
    help="Simulate hospitals that arrive one after another, and what a segmentation network keeps of them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(sites_app, name="sites")


@app.command()
def run(
    schedule: Annotated[Path | None, typer.Argument(help="A schedule YAML, or the name of a shipped one.")] = None,
    grid: Annotated[
        GridName, typer.Option(help="local: in this process; actors: on Ray; wire: deployed")
    ] = GridName.ACTORS,
    out: Annotated[Path | None, typer.Option(help="The run folder to make; runs/NAME-TIME unless given.")] = None,
    seed: Annotated[int | None, typer.Option(help="The run's seed, in place of the schedule's.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE; may be repeated.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check all, print the timeline, run nothing.")] = False,
    resume: Annotated[Path | None, typer.Option(help="A run folder to go on with.")] = None,
    address: Annotated[str | None, typer.Option(help="A running Ray to attach to, such as auto.")] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Run an arrival schedule to its end, or go on with a run that was stopped."""
    from simulator.terminal import loading

    with loading():
        from simulator.running import describe, go_on, start
        from sites.errors import UserError

    if (schedule is None) == (resume is None):
        raise UserError("wardround run: name a schedule to run, or a run folder with --resume; not both")
    if resume is not None:
        if out or seed is not None or overrides or dry_run:
            raise UserError("wardround run --resume: the folder holds the settings; leave out --out, --seed and --set")
        go_on(resume, grid, address, as_json=output is Format.JSON)
        return
    assert schedule is not None
    if dry_run:
        describe(schedule, overrides or [], seed, as_json=output is Format.JSON)
        return
    start(schedule, overrides or [], seed, out, grid=grid, address=address, as_json=output is Format.JSON)


@app.command()
def bench(
    suite: Annotated[Path, typer.Argument(help="A suite YAML, or the name of a shipped one.")],
    out: Annotated[
        Path | None, typer.Option(help="The bench folder to make, or to go on in; benches/NAME unless given.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of every schedule; may be repeated.")
    ] = None,
    seeds: Annotated[list[int] | None, typer.Option(help="Run this seed of the suite's only; may be repeated.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Run the strategy of this label only; may be repeated.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check all, list the trials, run nothing.")] = False,
    parallel: Annotated[int | None, typer.Option(min=1, help="Trials at a time; one a core unless given.")] = None,
    address: Annotated[str | None, typer.Option(help="A running Ray to attach to, such as auto.")] = None,
    track: Annotated[Track | None, typer.Option(help="Show each trial in this tracker's files as well.")] = None,
    check: Annotated[Path | None, typer.Option(help="Exit with 1 where scores leave these golden figures.")] = None,
    freeze: Annotated[Path | None, typer.Option(help="Write the scores as golden figures to this new file.")] = None,
    add: Annotated[
        list[Path] | None, typer.Option(help="Take over trials measured elsewhere, from their tables; may be repeated.")
    ] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Compare strategies: run a suite of trials, or go on with one that was stopped."""
    from simulator.terminal import loading

    with loading():
        from simulator.bench.running import Wanted, describe
        from simulator.bench.running import bench as run_bench

    wanted = Wanted(
        seeds=tuple(seeds or ()),
        only=tuple(only or ()),
        address=address,
        parallel=parallel,
        track=track.value if track else None,
        check=check,
        freeze=freeze,
        add=tuple(add or ()),
    )
    as_json = output is Format.JSON
    if dry_run:
        describe(suite, overrides or [], out, wanted, as_json=as_json)
        return
    raise typer.Exit(run_bench(suite, overrides or [], out, wanted, as_json=as_json))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A run folder, or a bench folder.")],
    output: FormatOption = Format.TEXT,
) -> None:
    """Write the report of a run or of a bench, one self-contained HTML page, into its folder."""
    if (folder / "plan.json").exists():
        from simulator.bench.running import write_report as of_bench

        path = of_bench(folder)
    else:
        from simulator.running import write_report as of_run
        from simulator.store import Store

        path = of_run(Store(folder))
    typer.echo(json.dumps({"report": str(path)}) if output is Format.JSON else f"report: {path}")


@app.command()
def audit(
    folder: Annotated[Path, typer.Argument(help="A run folder, or a bench folder; with --plan, a schedule.")],
    verify: Annotated[bool, typer.Option("--verify", help="Look for changes of the ledgers; write nothing.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Say what a schedule would let out; run nothing.")] = False,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE of the schedule of --plan.")] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Say what left each site, hold both records of it against each other, and write audit.html and audit.json."""
    from simulator.terminal import loading

    with loading():
        from simulator.audit import showing
        from sites.errors import UserError

    as_json = output is Format.JSON
    if (verify and plan) or (overrides and not plan):
        raise UserError("wardround audit: --verify looks at a run, --plan at a schedule, and --set belongs to --plan")
    if plan:
        raise typer.Exit(showing.plan(folder, overrides or [], as_json=as_json))
    show = showing.verify if verify else showing.audit
    raise typer.Exit(show(folder, as_json=as_json))


@app.command()
def replay(
    folder: Annotated[Path, typer.Argument(help="A run folder of a strategy that makes replays, or a bench folder.")],
    count: Annotated[int, typer.Option(min=2, help="Replays to make for each site.")] = 64,
    held_out: Annotated[
        int | None,
        typer.Option(min=1, help="Held-out cases of each site to judge by; as many as the run scores, if not given."),
    ] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Show replays of every past site beside real images, and measure how faithful they are.

    Of a bench, those of every trial that is done and was not measured before, and the means of all.

    With few held-out cases it is left to chance how near replays seem to lie to training images: where the source has
    more than the run scores, ask for them.
    """
    from simulator.terminal import loading

    with loading():
        from simulator.bench.keeping import demand_networks
        from simulator.replaying import replay as show

        if (folder / "plan.json").exists():
            from simulator.bench.replaying import replay_bench as show

    demand_networks(folder)
    show(folder, count, held_out, as_json=output is Format.JSON)


@app.command()
def exposure(
    folder: Annotated[Path, typer.Argument(help="The folder of a run that is done, or of a bench.")],
    replays: Annotated[int, typer.Option(min=8, help="Replays to attack for each site.")] = 256,
    control_steps: Annotated[int, typer.Option(min=1, help="Steps that the over-trained controls get.")] = 1500,
    inversion_steps: Annotated[int, typer.Option(min=1, help="Steps to rebuild images from a gradient.")] = 300,
    output: FormatOption = Format.TEXT,
) -> None:
    """Attack what a run released: who was trained on, whom replays copy, which images gradients or spectra show.

    Of a bench, every trial that is done; its report then shows exposure against Dice.
    """
    from simulator.terminal import loading

    with loading():
        from simulator.bench.keeping import demand_networks
        from simulator.exposure.measuring import Effort
        from simulator.exposure.showing import expose

        if (folder / "plan.json").exists():
            from simulator.bench.exposing import expose_bench as expose

    demand_networks(folder)
    effort = Effort(replays=replays, control_steps=control_steps, inversion_steps=inversion_steps)
    expose(folder, effort, as_json=output is Format.JSON)


@app.command()
def strategies(
    output: Annotated[ListFormat, typer.Option("--format", help="Text, JSON, or the table of docs/strategies.md.")] = (
        ListFormat.TEXT
    ),
) -> None:
    """List the strategies: family, what each releases and keeps at a site, and whether the default policy admits it."""
    from simulator.terminal import loading

    with loading():
        from simulator.listing import show

    show(output.value)


@app.command()
def doctor(output: FormatOption = Format.TEXT) -> None:
    """Say whether this installation can run."""
    from simulator.doctor import examine

    raise typer.Exit(examine(as_json=output is Format.JSON))


def main() -> None:
    """Run the command. Exit codes: 0 all done, 1 a site, run or audit failed, 2 bad input, 130 interrupted."""
    from click.exceptions import Abort, ClickException

    signal.signal(signal.SIGTERM, _interrupt)
    try:
        sys.exit(app(standalone_mode=False))
    except ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, Abort):
        sys.exit(130)
    except Exception as error:
        from sites.errors import UserError, WardroundError

        if not isinstance(error, WardroundError):
            raise
        typer.echo(f"wardround: {error}", err=True)
        sys.exit(2 if isinstance(error, UserError) else 1)


def _interrupt(number: int, frame: object) -> None:
    """Let a polite kill end a run as Ctrl-C does."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
