"""What upscale, denoise and dejpeg have in common: images in, restored images out."""

import time
from collections import Counter
from contextlib import nullcontext
from fractions import Fraction
from math import prod
from pathlib import Path

import typer

from swinir import imaging
from swinir.cli.choices import RestoringOptions
from swinir.cli.console import Bar, duration, err, out, progress_bars
from swinir.engine import MODEL_OF_SCALE, RUNTIMES, Enlarger, Restorer, TargetSize, choose_devices
from swinir.errors import ImageTooLargeError, UsageError
from swinir.jobs import Job, JobResult, Outcome, plan_jobs, restore_files


def load(name: str, options: RestoringOptions) -> list[Restorer]:
    """Load a model once for each device that is meant; other runtimes have names of their own for theirs."""
    chosen, white = options.restorer, options.image_range
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
    return [Enlarger(size, chosen, device=each) for each in choose_devices(chosen.device)], size.label


def restore_all(
    restorers: list[Restorer] | list[Enlarger], inputs: list[Path], options: RestoringOptions, *, label: str
) -> None:
    """Restore every input; exit with 1 where one failed.

    ``label`` is what is added to the name of an output without a name of its own.
    """
    image_format, quiet = options.image_format, options.quiet
    suffix = None if image_format is None else f".{image_format.removeprefix('.').lower()}"
    jobs = plan_jobs(inputs, output=options.output, label=label, suffix=suffix)
    limits = imaging.DEFAULT_LIMITS
    if options.max_megapixels is not None:
        limits = imaging.Limits(max_pixels=int(options.max_megapixels * 1e6))
    if not quiet:
        err.print(announcement(restorers), markup=False)
    titles = {
        job.source: f"[{number}/{len(jobs)}] {job.source.name}" if len(jobs) > 1 else job.source.name
        for number, job in enumerate(jobs, start=1)
    }
    began = time.monotonic()
    outcomes: Counter[Outcome] = Counter()
    with nullcontext() if quiet else progress_bars() as bars:
        shown: dict[Path, Bar] = {}

        def begin(job: Job) -> Bar | None:
            return None if bars is None else shown.setdefault(job.source, bars.begin(titles[job.source]))

        for result in restore_files(
            restorers,
            jobs,
            overwrite=options.overwrite,
            progress_of=begin,
            quality=options.quality,
            limits=limits,
        ):
            source = result.job.source
            if source in shown:
                shown.pop(source).remove()
            with nullcontext() if bars is None else bars.hidden():
                show(result, titles[source], is_quiet=quiet)
            outcomes[result.outcome] += 1
    if len(jobs) > 1 and not quiet:
        out.print(summary(outcomes, time.monotonic() - began), markup=False)
    if outcomes[Outcome.FAILED]:
        raise typer.Exit(1)


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


def show(result: JobResult, title: str, *, is_quiet: bool) -> None:
    """Say how a job ended; failures always, on standard error."""
    if result.outcome is Outcome.FAILED:
        hint = " (--max-megapixels)" if isinstance(result.error, ImageTooLargeError) else ""
        err.print(f"{title}: {result.error}{hint}", markup=False, style="red")
    elif result.outcome is Outcome.SKIPPED and not is_quiet:
        out.print(f"{title}: skipped, {result.job.destination} exists", markup=False)
    elif not is_quiet:
        out.print(f"{title} -> {result.job.destination} ({duration(result.duration_s)})", markup=False)
        for note in result.notes:
            out.print(f"  note: {note}", markup=False)


def summary(outcomes: Counter[Outcome], seconds: float) -> str:
    """Count how the jobs ended."""
    parts = [f"{outcomes[outcome]} {outcome.value}" for outcome in Outcome if outcomes[outcome]]
    return f"{', '.join(parts)} in {duration(seconds)}"
