"""What upscale, denoise and dejpeg have in common: images in, restored images out."""

import os
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from math import prod
from pathlib import Path

import typer

from swinir import imaging
from swinir.cli.choices import RestoringOptions
from swinir.cli.console import err, out
from swinir.cli.piping import split_lists, standard_streams
from swinir.cli.reporting import Report, make_report
from swinir.engine import MODEL_OF_SCALE, RUNTIMES, Enlarger, Restorer, TargetSize, choose_devices
from swinir.errors import UsageError
from swinir.jobs import (
    ClusterOptions,
    Estimate,
    Job,
    JobChoices,
    JobPlan,
    JobResult,
    Outcome,
    estimate_work,
    plan_jobs,
    restore_files,
    restore_on_cluster,
)
from swinir.jobs.inputs import is_film
from swinir.options import FilmOptions, RestorerOptions


def load(name: str, options: RestoringOptions) -> list[Restorer]:
    """Load a model once for each device that is meant; other runtimes have names of their own for theirs."""
    chosen, white = options.restorer, options.image_range
    if options.ray is not None:
        return [Restorer.from_pretrained(name, _for_names(chosen), image_range=white)]
    if chosen.backend in RUNTIMES:
        return [Restorer.from_pretrained(name, chosen, image_range=white)]
    devices = choose_devices(chosen.device)
    return [Restorer.from_pretrained(name, chosen, image_range=white, device=each) for each in devices]


def load_enlarging(
    options: RestoringOptions,
    *,
    scale: Fraction | None,
    width: int | None,
    height: int | None,
    max_side: int | None,
) -> tuple[list[Restorer] | list[Enlarger], str]:
    """Load what makes a size, for each device that is meant; return it and the label of the size.

    Raises:
        UsageError: the size is unclear or impossible.
    """
    given = None if options.model is None else load(options.model, options)
    if scale == width == height == max_side is None:
        assert given is not None
        return given, f"x{given[0].scale}" if given[0].scale > 1 else "restored"
    size = TargetSize(scale=scale, width=width, height=height, max_side=max_side)
    if given is not None:
        if given[0].scale == 1:
            raise UsageError(f"the model {given[0].name} does not enlarge: leave out --model or the size")
        if size.scale == given[0].scale:
            return given, size.label
        return [Enlarger(size, models={each.scale: each}) for each in given], size.label
    for known, name in MODEL_OF_SCALE.items():
        if size.scale == known:
            return load(name, options), size.label
    chosen = options.restorer
    if options.ray is not None:
        return [Enlarger(size, _for_names(chosen))], size.label
    return [Enlarger(size, chosen, device=each) for each in choose_devices(chosen.device)], size.label


def _for_names(chosen: RestorerOptions) -> RestorerOptions:
    """Return options of what computes nothing: where workers do, it is for names, sizes and parameters."""
    return RestorerOptions(device="cpu", ensemble=chosen.ensemble)


def restore_all(
    team: list[Restorer] | list[Enlarger], inputs: list[Path], options: RestoringOptions, *, label: str
) -> None:
    """Restore every input; exit with 1 where one failed.

    ``label`` is what is added to the name of an output without a name of its own.
    """
    inputs, listed = split_lists(inputs, options)
    with standard_streams(inputs, options) as streams:
        chosen = streams.options
        image_format = chosen.image_format
        plan = plan_jobs(
            streams.inputs,
            output=chosen.output,
            label=label,
            suffix=None if image_format is None else f".{image_format.removeprefix('.').lower()}",
            listed=listed,
            include=chosen.include or (),
            exclude=chosen.exclude or (),
        )
        is_piped = chosen is not options
        _check_film_options(plan, chosen)
        if not (options.quiet or options.is_json):
            where = announcement(team) if options.ray is None else f"{team[0].name} on Ray ({options.ray})"
            err.print(where, markup=False)
        report = make_report(
            plan,
            None if options.ray is not None else _estimate(plan, team, chosen),
            is_json=options.is_json and not is_piped,
            is_quiet=options.quiet,
            output=err if is_piped else out,
            names=streams.names,
        )
        if not restore_planned(team, plan, chosen, report):
            raise typer.Exit(1)


def _check_film_options(plan: JobPlan, options: RestoringOptions) -> None:
    """Require a film where something of films is asked for.

    Raises:
        UsageError: there are pictures alone.
    """
    flags = {"codec": "--video-codec", "crf": "--crf", "preset": "--preset", "deinterlace": "--deinterlace"}
    usual = FilmOptions()
    given = [flag for name, flag in flags.items() if getattr(options.film, name) != getattr(usual, name)]
    if given and not any(is_film(job.source) for job in plan):
        raise UsageError(f"{given[0]} is of films, and no input is one: leave it out")


def restore_planned(
    team: list[Restorer] | list[Enlarger], plan: JobPlan, options: RestoringOptions, report: Report
) -> bool:
    """Do all jobs of a plan; return whether none failed."""
    is_well = True
    with report, closing(_results(team, plan, options, report)) as results:
        for result in results:
            report.add(result)
            is_well = is_well and result.outcome is not Outcome.FAILED
            if options.is_ended_by_failure and not is_well:
                break
    return is_well


def _estimate(
    plan: JobPlan, team: list[Restorer] | list[Enlarger], options: RestoringOptions
) -> Estimate | None:
    def is_wanted(job: Job) -> bool:
        is_there = os.path.exists(job.destination)  # noqa: PTH110  of a name that is too long this is an answer
        return options.overwrite or options.update or not is_there

    return estimate_work(plan, team, limits=limits_of(options), frames=options.frames, is_wanted=is_wanted)


def _results(
    team: list[Restorer] | list[Enlarger], plan: JobPlan, options: RestoringOptions, report: Report
) -> Generator[JobResult]:
    """Do all jobs here, or on a cluster."""
    given: JobChoices = {
        "overwrite": options.overwrite,
        "progress_of": report.progress_of,
        "quality": options.quality,
        "limits": limits_of(options),
        "frames": options.frames,
        "update": options.update,
        "layout": options.tiff_layout,
        "salvage": options.salvage,
        "film": options.film,
    }
    if options.ray is None:
        yield from restore_files(team, plan, **given)
        return
    cluster = ClusterOptions(address=options.ray, cpus=options.ray_cpus)
    yield from restore_on_cluster(team[0], plan, options.restorer, cluster, **given)


def limits_of(options: RestoringOptions) -> imaging.Limits:
    """Return the limits that were asked for."""
    usual = imaging.NO_LIMITS if options.no_limits else imaging.DEFAULT_LIMITS
    if options.max_megapixels is None:
        return usual
    max_pixels = int(options.max_megapixels * 1e6)
    return replace(usual, max_pixels=max_pixels, max_total_pixels=max(max_pixels, usual.max_total_pixels))


def announcement(team: list[Restorer] | list[Enlarger]) -> str:
    """Say what is about to compute."""
    first = team[0]
    if isinstance(first, Enlarger):
        devices = ", ".join(str(each.device) for each in team)
        return f"{describe_passes(first)} on {devices}"
    described = first.describe()
    devices = ", ".join(
        restorer.forward_pass.device_name for restorer in team if isinstance(restorer, Restorer)
    )
    text = f"{described['model']} (×{described['scale']}) on {devices} in {described['precision']}"
    text = f"{text}, computed by {described['backend']}"
    return f"{text}, eight-fold ensemble" if described["ensemble"] else text


def describe_passes(enlarger: Enlarger) -> str:
    """Say which models make a size: those that a factor takes, or all that a picture may need."""
    scale = enlarger.size.scale
    if scale is None:
        return f"the next larger of {enlarger.name}, twice where one is not enough, then reduced to {enlarger.size}"
    passes = enlarger.passes(1, 1)
    text = ", then ".join(f"{restorer.name} (×{restorer.scale})" for restorer in passes)
    made = prod(restorer.scale for restorer in passes)
    return text if made == scale else f"{text}, then reduced to ×{float(scale):g}"
