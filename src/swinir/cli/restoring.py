"""What upscale, denoise and dejpeg have in common: images in, restored images out."""

import os
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import typer

from swinir import imaging
from swinir.cli.choices import RestoringOptions
from swinir.cli.console import err, out
from swinir.cli.loading import announcement, model_names
from swinir.cli.piping import split_lists, standard_streams
from swinir.cli.reporting import Report, make_report
from swinir.engine import Enlarger, Restorer
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
from swinir.options import FilmOptions


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
        computed_by = announcement(team) if options.ray is None else f"{team[0].name} on Ray ({options.ray})"
        if not (options.quiet or options.is_json):
            err.print(computed_by, markup=False)
        report = make_report(
            plan,
            None if options.ray is not None else _estimate(plan, team, chosen),
            models=model_names(team),
            computed_by=computed_by,
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
