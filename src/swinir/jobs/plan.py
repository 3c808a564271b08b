"""Many files: what is read and written is planned before anything is done.

Names: beside the input, or in the folder asked for, as ``holiday_x4.jpg`` for ``holiday.jpg``; formats that
are not fit to be written (GIF's 256 colours, HEIC) become PNG. Below an output folder, what came out of an
input folder keeps its place in it. Nothing that exists is replaced unless asked for: a file from a folder whose
output is there counts as done, so that a stopped job goes on when it is started again; a file named by
itself is refused.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from swinir import imaging
from swinir.errors import ImageReadError, SwinIRError, UsageError
from swinir.imaging.formats import format_of_suffix

# Written instead of what cannot or should not be written.
_LOSSLESS_SUFFIX = ".png"
_UNFIT_SUFFIXES = (".gif",)
# Suffixes of formats that are not written: a name that ends in one means a file, not a folder.
_UNWRITABLE_SUFFIXES = frozenset(
    {".bmp", ".heic", ".heif", ".jp2", ".jxl", ".pdf", ".ppm", ".psd", ".svg", ".tga"}
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One file to restore.

    Attributes:
        source: read.
        destination: written; its folder is made when needed.
        is_listed: found in a folder, not named by itself.
    """

    source: Path
    destination: Path
    is_listed: bool


class Outcome(StrEnum):
    """How a job ended."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """What came of a job.

    Attributes:
        job: the job.
        outcome: how it ended; skipped means that its output was there.
        notes: what a user should know of a file that was done.
        error: why it failed.
        duration_s: time it took to read, to restore and to write, without waiting for other jobs.
    """

    job: Job
    outcome: Outcome
    notes: tuple[str, ...] = ()
    error: SwinIRError | None = None
    duration_s: float = 0.0


def plan_jobs(
    inputs: Sequence[Path], *, output: Path | None = None, label: str, suffix: str | None = None
) -> list[Job]:
    """Decide what is read and where it goes, before anything is done.

    Args:
        inputs: files, and folders that stand for all image files below them, sorted by name, hidden ones
            left out. One without image files among other inputs fails as a file does, in its turn.
        output: None (beside each input), a folder, or for a single file a file. What does not exist is a
            folder if the inputs are more than one file or the name has no suffix of an image format.
        label: what is added to names: "x4" makes holiday_x4.jpg.
        suffix: of the output format, with its dot; None keeps that of the input.

    Raises:
        UsageError: two inputs would be written to one file, an output would replace an input, many inputs
            are to be written to one file, or ``output`` is of another format than ``suffix``, or of one that
            cannot be written.
        ImageReadError: the only input is a folder without image files.
    """
    if not label or any(separator in label for separator in "/\\"):
        raise UsageError(f"label is {label!r}, but it becomes part of file names: give it letters and digits")
    if suffix is not None and suffix.lower() not in imaging.WRITABLE_SUFFIXES:
        known = ", ".join(imaging.WRITABLE_SUFFIXES)
        raise UsageError(
            f"suffix {suffix!r} names no image format that can be written: choose one of {known}"
        )
    if output is not None and _is_file(output, inputs):
        if suffix is not None and format_of_suffix(output.suffix) is not format_of_suffix(suffix):
            raise UsageError(
                f"output {output} is not of the format {suffix} that is asked for: leave one out"
            )
        return _checked([Job(source=inputs[0], destination=output, is_listed=False)])
    jobs: dict[Path, Job] = {}
    for given in inputs:
        files = _image_files(given) if _is_true(given.is_dir) else []
        if not files and _is_true(given.is_dir) and len(inputs) == 1:
            known = ", ".join(imaging.READABLE_SUFFIXES)
            raise ImageReadError(f"folder {given} has no image files ({known})")
        is_folder = bool(files)
        for source in files or (given,):
            folder = source.parent
            if output is not None:
                folder = output / source.parent.relative_to(given) if is_folder else output
            destination = folder / _output_name(source, label, suffix)
            job = Job(source=source, destination=destination, is_listed=is_folder)
            jobs.setdefault(_absolute(source), job)
    # What an earlier run wrote into an input folder is not an input of this one.
    written = {_absolute(job.destination) for job in jobs.values()}
    return _checked([job for place, job in jobs.items() if not (job.is_listed and place in written)])


def _is_file(output: Path, inputs: Sequence[Path]) -> bool:
    """Tell whether ``output`` means a file and not a folder."""
    is_many = len(inputs) != 1 or _is_true(inputs[0].is_dir)
    if _is_true(output.is_dir):
        return False
    suffix = output.suffix.lower()
    if suffix in _UNWRITABLE_SUFFIXES and not is_many:
        known = ", ".join(imaging.WRITABLE_SUFFIXES)
        raise UsageError(f"output {output} names a format that cannot be written: choose one of {known}")
    looks_like_file = suffix in imaging.WRITABLE_SUFFIXES or _is_true(output.exists)
    if looks_like_file and is_many:
        raise UsageError(f"output {output} names a file, but there is more than one input: name a folder")
    return looks_like_file


def _image_files(folder: Path) -> list[Path]:
    """List the image files below a folder, sorted, hidden ones left out."""
    return [
        file
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in imaging.READABLE_SUFFIXES
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and file.is_file()
    ]


def _is_true(question: Callable[[], bool]) -> bool:
    """Ask the file system; a name that it does not take, such as one too long, is of nothing that is there."""
    try:
        return question()
    except OSError:
        return False


def _output_name(source: Path, label: str, suffix: str | None) -> str:
    if suffix is None:
        own = source.suffix.lower()
        is_fit = own in imaging.WRITABLE_SUFFIXES and own not in _UNFIT_SUFFIXES
        suffix = source.suffix if is_fit else _LOSSLESS_SUFFIX
    return f"{source.stem}_{label}{suffix}"


def _absolute(path: Path) -> Path:
    """One name for each file, whether or not it exists."""
    return Path(os.path.realpath(path))


def _checked(jobs: list[Job]) -> list[Job]:
    """Require that no file is written twice, and none that is read."""
    sources = {_absolute(job.source): job for job in jobs}
    first: dict[Path, Job] = {}
    for job in jobs:
        place = _absolute(job.destination)
        if place in sources:
            raise UsageError(
                f"output {job.destination} would replace the input {sources[place].source}: "
                "choose another output"
            )
        if place in first:
            raise UsageError(
                f"{first[place].source} and {job.source} would both be written to {job.destination}: "
                "restore them into different folders"
            )
        first[place] = job
    return jobs
