"""Many files: what is read and written is planned before anything is done.

Names: beside the input, or in the folder asked for, as ``holiday_x4.jpg`` for ``holiday.jpg``; formats that
are not fit to be written (GIF's 256 colours, HEIC) become PNG. Below an output folder, what came out of an
input folder keeps its place in it. Names that would collide are told apart by the input's suffix or folder.
Nothing that exists is replaced unless asked for: a file from a folder whose result is there counts as done, so
that a stopped job goes on when it is started again; a file named by itself is refused.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path

from swinir import film, imaging
from swinir.errors import ImageReadError, ImageWriteError, SwinIRError, UsageError
from swinir.imaging import shown_path
from swinir.imaging.formats import format_of_suffix
from swinir.jobs.inputs import Input, find_inputs, is_film
from swinir.jobs.places import is_folder
from swinir.urls import path_of

# Written instead of what cannot or should not be written.
_LOSSLESS_SUFFIX = ".png"
_FILM_SUFFIX = ".mkv"
_WRITABLE_SUFFIXES = (*imaging.WRITABLE_SUFFIXES, imaging.DEEP_ZOOM_SUFFIX, *film.FILM_SUFFIXES)
_UNFIT_SUFFIXES = (".gif",)
# Suffixes of formats that are not written: a name that ends in one means a file, not a folder.
_UNWRITABLE_SUFFIXES = frozenset(
    {".bmp", ".heic", ".heif", ".jp2", ".jxl", ".pdf", ".ppm", ".psd", ".svg", ".tga"}
    | set(film.OTHER_FILM_SUFFIXES)
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One file to restore.

    Attributes:
        source: read.
        destination: written; its folder is made when needed.
        is_listed: found in a folder, by a pattern or on a list, not named by itself.
        problem: why it cannot be done, where that is known before.
    """

    source: Path
    destination: Path
    is_listed: bool
    problem: SwinIRError | None = None


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


@dataclass(frozen=True, kw_only=True)
class JobPlan:
    """What is going to be done.

    Attributes:
        jobs: in their order.
        own_results: files left out because this program made them.
        num_others: files left out that are no pictures.
    """

    jobs: tuple[Job, ...]
    own_results: tuple[Path, ...] = ()
    num_others: int = 0

    def __iter__(self) -> Iterator[Job]:
        """Yield the jobs."""
        return iter(self.jobs)

    def __len__(self) -> int:
        """Return how many jobs there are."""
        return len(self.jobs)


def plan_jobs(
    inputs: Sequence[Path | str],
    *,
    output: Path | str | None = None,
    label: str,
    suffix: str | None = None,
    listed: Sequence[Path | str] = (),
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> JobPlan:
    """Decide what is read and where it goes, before anything is done.

    Args:
        inputs: files, folders for all pictures below them, and patterns; see ``find_inputs``.
        output: None (beside each input), a folder, or for a single file a file. What does not exist is a
            folder if the inputs are more than one file or the name has no suffix of an image format.
        label: what is added to names: "x4" makes holiday_x4.jpg.
        suffix: of the output format, with its dot; None keeps that of the input.
        listed: files, folders and patterns of a list.
        include: patterns of which files in folders must fit one.
        exclude: patterns that they must not fit.

    Raises:
        UsageError: the only input would be replaced by its output, many inputs are to be written to one file, or
            ``output`` is of another format than ``suffix``, or of one that cannot be written.
        ImageReadError: there is nothing to restore.
    """
    inputs, listed = [path_of(each) for each in inputs], [path_of(each) for each in listed]
    output = None if output is None else path_of(output)
    if not label or any(separator in label for separator in "/\\"):
        raise UsageError(f"label is {label!r}, but it becomes part of file names: give it letters and digits")
    if suffix is not None and suffix.lower() not in _WRITABLE_SUFFIXES:
        known = ", ".join(_WRITABLE_SUFFIXES)
        raise UsageError(
            f"suffix {suffix!r} names no image format that can be written: choose one of {known}"
        )
    found = find_inputs(inputs, listed=listed, include=include, exclude=exclude)
    if output is not None and _is_file(output, [*inputs, *listed], num_files=len(found.inputs)):
        if suffix is not None and format_of_suffix(output.suffix) is not format_of_suffix(suffix):
            raise UsageError(
                f"output {output} is not of the format {suffix} that is asked for: leave one out"
            )
        jobs = [Job(source=found.inputs[0].path, destination=output, is_listed=False)]
    else:
        jobs = [_plan_job(each, output, label, suffix) for each in found.inputs]
        jobs += [_unreadable(path, kind) for path, kind in found.unreadable]
    if not jobs and not found.own_results:
        names = ", ".join(shown_path(path) for path in [*inputs, *listed][:3])
        raise ImageReadError(f"{names or 'the list'} has no {_describe_wanted(include, exclude)}")
    without = "image files" if not (include or exclude) else _describe_wanted(include, exclude)
    jobs += [_unreadable(folder, f"a folder without {without}") for folder in found.empty]
    jobs = _without_collisions(jobs, label)
    if len(jobs) == 1 and isinstance(jobs[0].problem, ImageWriteError):
        raise UsageError(str(jobs[0].problem))
    return JobPlan(jobs=tuple(jobs), own_results=tuple(found.own_results), num_others=found.num_others)


def _describe_wanted(include: Sequence[str], exclude: Sequence[str]) -> str:
    """Say what is looked for in folders."""
    patterns = [f"include '{each}'" for each in include] + [f"exclude '{each}'" for each in exclude]
    if patterns:
        return f"pictures or films within the patterns ({', '.join(patterns)})"
    return f"image files ({', '.join(imaging.READABLE_SUFFIXES)})"


def _is_file(output: Path, inputs: Sequence[Path], *, num_files: int) -> bool:
    """Tell whether ``output`` means a file and not a folder."""
    is_many = len(inputs) != 1 or num_files != 1 or is_folder(inputs[0])
    if is_folder(output):
        return False
    suffix = output.suffix.lower()
    if suffix in _UNWRITABLE_SUFFIXES and not is_many:
        known = ", ".join(film.FILM_SUFFIXES if is_film(inputs[0]) else imaging.WRITABLE_SUFFIXES)
        raise UsageError(f"output {output} names a format that cannot be written: choose one of {known}")
    looks_like_file = suffix in _WRITABLE_SUFFIXES or os.path.lexists(output)
    if not (looks_like_file or is_many) and (meant := get_close_matches(suffix, _WRITABLE_SUFFIXES, 1, 0.7)):
        raise UsageError(
            f"output {output} ends like no image format: write {meant[0]}, or make the folder first"
        )
    if looks_like_file and is_many:
        raise UsageError(f"output {output} names a file, but there is more than one input: name a folder")
    return looks_like_file


def _plan_job(each: Input, output: Path | None, label: str, suffix: str | None) -> Job:
    source = each.path
    folder = source.parent if output is None else output / each.place
    if suffix is None:
        own = source.suffix.lower()
        if own in _UNFIT_SUFFIXES:
            own = ""
        if own in imaging.WRITABLE_SUFFIXES:
            suffix = source.suffix
        elif is_film(source):
            suffix = source.suffix if own in film.FILM_SUFFIXES else _FILM_SUFFIX
        else:
            suffix = _LOSSLESS_SUFFIX
    name = f"{source.stem}_{label}{suffix}"
    return Job(source=source, destination=folder / name, is_listed=each.is_listed)


def _unreadable(path: Path, kind: str) -> Job:
    problem = ImageReadError(f"{shown_path(path)} is {kind}")
    return Job(source=path, destination=path, is_listed=True, problem=problem)


def _without_collisions(jobs: list[Job], label: str) -> list[Job]:
    """Let no file be written twice, and none that is read: another name, or a problem of that job alone."""
    folders: dict[Path, str] = {}

    def place(path: Path) -> str:
        """One name for each file, whether or not it exists."""
        if os.path.islink(path):  # noqa: PTH114  of a name that is too long this is an answer
            return os.path.realpath(path)
        folder = folders.get(path.parent)
        if folder is None:
            folder = folders[path.parent] = os.path.realpath(path.parent)
        return f"{folder}{os.sep}{path.name}"

    sources = {place(job.source): job.source for job in jobs}
    # Who keeps the suffix keeps the plain name.
    order = sorted(range(len(jobs)), key=lambda index: not _keeps_suffix(jobs[index]))
    planned = {place(job.destination) for job in jobs}
    taken: dict[str, Path] = {}
    for index in order:
        job = jobs[index]
        if job.problem is not None:
            continue
        where = place(job.destination)
        if where in sources:
            problem = (
                f"output {shown_path(job.destination)} would replace the input {shown_path(sources[where])}"
            )
            jobs[index] = replace(job, problem=ImageWriteError(f"{problem}: choose another output"))
            continue
        if where in taken:
            others = [other for other in _other_names(job, label) if place(other) not in planned]
            free = next((other for other in others if place(other) not in taken | sources), None)
            if free is None:
                both = f"{shown_path(taken[where])} and {shown_path(job.source)}"
                problem = f"{both} would both be written to {shown_path(job.destination)}"
                problem = ImageWriteError(f"{problem}: restore them into different folders")
                jobs[index] = replace(job, problem=problem)
                continue
            where = place(free)
            jobs[index] = replace(job, destination=free)
        taken[where] = job.source
    return jobs


def _keeps_suffix(job: Job) -> bool:
    return job.source.suffix.lower() == job.destination.suffix.lower()


def _other_names(job: Job, label: str) -> Iterator[Path]:
    """Yield names that tell a file from others of its stem: with its suffix, then with its folder."""
    source, suffix = job.source, job.destination.suffix
    yield job.destination.with_name(f"{source.stem}-{source.suffix.removeprefix('.')}_{label}{suffix}")
    folder = source.absolute().parent.name
    yield job.destination.with_name(f"{folder}-{source.stem}_{label}{suffix}")
