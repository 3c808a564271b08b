"""What upscale, denoise and dejpeg have in common: images in, restored images out."""

import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import typer

from swinir import imaging
from swinir.cli.choices import RestoringOptions
from swinir.cli.console import Bar, duration, err, out, progress_bars
from swinir.engine import RUNTIMES, Restorer, choose_devices
from swinir.errors import ImageTooLargeError
from swinir.jobs import Job, JobResult, Outcome, plan_jobs, restore_files


def load(name: str, options: RestoringOptions) -> list[Restorer]:
    """Load a model once for each device that is meant; other runtimes have names of their own for theirs."""
    chosen, white = options.restorer, options.image_range
    if chosen.backend in RUNTIMES:
        return [Restorer.from_pretrained(name, chosen, image_range=white)]
    devices = choose_devices(chosen.device)
    return [Restorer.from_pretrained(name, chosen, image_range=white, device=each) for each in devices]


def restore_all(
    restorers: list[Restorer], inputs: list[Path], options: RestoringOptions, *, label: str
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


def announcement(restorers: list[Restorer]) -> str:
    """Say what is about to compute."""
    first = restorers[0].describe()
    devices = ", ".join(restorer.describe()["device"] for restorer in restorers)
    text = f"{first['model']} (×{first['scale']}) on {devices} in {first['precision']}"
    text = f"{text}, computed by {first['backend']}"
    return f"{text}, eight-fold ensemble" if first["ensemble"] else text


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
