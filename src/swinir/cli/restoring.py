"""What upscale, denoise and dejpeg have in common: images in, restored images out."""

import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import typer

from swinir import imaging
from swinir.cli.console import Bar, duration, err, out, progress_bars
from swinir.engine import RUNTIMES, Restorer, choose_devices
from swinir.errors import ImageTooLargeError
from swinir.jobs import Job, JobResult, Outcome, plan_jobs, restore_files
from swinir.options import BackendChoice, Precision, RestorerOptions, Tile

# More than any format holds.
MOST_MEGAPIXELS = 1e9
DEFAULT_MEGAPIXELS = imaging.DEFAULT_LIMITS.max_pixels / 1e6


def named_path(text: str) -> Path:
    """Read a path; an empty one, such as an unset variable of a shell, would mean the current folder."""
    if not text:
        raise typer.BadParameter("a name is empty: write . for the current folder")
    return Path(text)


Inputs = Annotated[
    list[Path],
    typer.Argument(metavar="INPUT...", parser=named_path, help="Images, or folders of images."),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="A file, or a folder for many. Without it: beside the input, under a name that says what was done.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="A name from `swinir models list`, a weights file (.safetensors, .pth), or hf:owner/name.",
    ),
]
TileText = Annotated[
    str,
    typer.Option(
        "--tile", help="auto (as memory allows), none (the whole image at once), or a side in pixels."
    ),
]
Quality = Annotated[
    int | None,
    typer.Option(min=1, max=100, help="Of JPEG, WebP and AVIF.", show_default="looks like the original"),
]
ImageFormat = Annotated[
    str | None,
    typer.Option("--format", help="Of the output: png, jpg, webp, tif, avif.", show_default="the input's"),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]
MaxMegapixels = Annotated[
    float,
    typer.Option(
        min=0.001,
        max=MOST_MEGAPIXELS,
        help="Refuse larger inputs, as a guard against files made to fill the memory.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]


def load(
    name: str,
    *,
    image_range: float | None,
    device: str,
    precision: str,
    tile: Tile,
    ensemble: bool,
    backend: BackendChoice,
) -> list[Restorer]:
    """Load a model once for each device that is meant; other runtimes have names of their own for theirs."""
    options = RestorerOptions(precision=Precision(precision), tile=tile, ensemble=ensemble, backend=backend)
    devices = [device] if backend in RUNTIMES else choose_devices(device)
    return [Restorer.from_pretrained(name, options, image_range=image_range, device=each) for each in devices]


def restore_all(
    restorers: list[Restorer],
    inputs: list[Path],
    *,
    output: Path | None,
    label: str,
    quality: int | None,
    image_format: str | None,
    overwrite: bool,
    max_megapixels: float | None,
    quiet: bool,
) -> None:
    """Restore every input; exit with 1 where one failed.

    ``label`` is what is added to the name of an output without a name of its own.
    """
    suffix = None if image_format is None else f".{image_format.removeprefix('.').lower()}"
    jobs = plan_jobs(inputs, output=output, label=label, suffix=suffix)
    limits = imaging.DEFAULT_LIMITS
    if max_megapixels is not None:
        limits = imaging.Limits(max_pixels=int(max_megapixels * 1e6))
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
            restorers, jobs, overwrite=overwrite, progress_of=begin, quality=quality, limits=limits
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
    text = f"{told['model']} (×{told['scale']}) on {devices} in {told['precision']}, computed by {told['backend']}"
    return f"{text}, eight-fold ensemble" if told["ensemble"] else text


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
