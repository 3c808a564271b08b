"""Files through Restorers, each read, restored and written; one bad file stops nothing.

A CPU is busy with the network, so there files are done one step after the other.
"""

from collections.abc import Iterable, Iterator, Sequence

from swinir import imaging
from swinir.engine import Enlarger, Restorer
from swinir.errors import UsageError
from swinir.jobs.pipeline import restore_in_pipeline
from swinir.jobs.plan import Job, JobResult
from swinir.jobs.task import AnyRestorer, FileTask, JobOptions, ProgressOf
from swinir.options import FilmOptions, FramesChoice, TiffLayout


def restore_files(
    restorers: AnyRestorer | Sequence[AnyRestorer],
    jobs: Iterable[Job],
    *,
    overwrite: bool = False,
    progress_of: ProgressOf | None = None,
    quality: int | None = None,
    limits: imaging.Limits = imaging.DEFAULT_LIMITS,
    frames: FramesChoice = FramesChoice.AUTO,
    update: bool = False,
    layout: TiffLayout = TiffLayout.STRIPS,
    salvage: bool = False,
    film: FilmOptions | None = None,
) -> Iterator[JobResult]:
    """Do all jobs and yield what came of each.

    One Restorer does them in order. Several take the next one as they get free, each in a thread of its own, and
    results come as they are there. Closing the iterator, or an interrupt, stops them all: what is being written is
    finished, and nothing is left half done.

    Args:
        restorers: one, or one for each GPU (``choose_devices``).
        jobs: from ``plan_jobs``.
        overwrite: replace outputs that exist.
        progress_of: called as a job begins to be restored; what it returns is called with how far that image is.
            With several Restorers both happen in their threads.
        quality: from 1 to 100 for JPEG, WebP and AVIF; None for one that looks like the original.
        limits: against files that would fill the memory.
        frames: which frames of animations, or pages, are restored.
        layout: of TIFF files.
        salvage: of damaged files, restore what can be decoded.
        film: how films are read and written.
        update: make results again that were made of other inputs or with other settings; else such a job fails.

    Raises:
        UsageError: there is no Restorer.
    """
    team = [restorers] if isinstance(restorers, Restorer | Enlarger) else list(restorers)
    if not team:
        raise UsageError("restorers is empty: give at least one")
    options = JobOptions(
        overwrite=overwrite,
        progress_of=progress_of,
        quality=quality,
        limits=limits,
        frames=frames,
        update=update,
        layout=layout,
        salvage=salvage,
        film=film or FilmOptions(),
    )
    if len(team) == 1 and team[0].device.type == "cpu":
        return _restore_in_order(team[0], jobs, options)
    return restore_in_pipeline(team, jobs, options)


def _restore_in_order(restorer: AnyRestorer, jobs: Iterable[Job], options: JobOptions) -> Iterator[JobResult]:
    for job in jobs:
        task = FileTask(job, options, restorer).read()
        task.restore(restorer)
        yield task.write()
