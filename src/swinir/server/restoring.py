"""What a thread of the service does with jobs: read, restore, write, and name what went wrong."""

import logging
import time
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

from swinir import imaging
from swinir.engine import Enlarger, Restorer
from swinir.errors import SwinIRError, UsageError
from swinir.server.errors import status_of
from swinir.server.jobs import CancelledJobError, DiskFullError, Job
from swinir.server.models import ModelTable
from swinir.server.store import JobState

logger = logging.getLogger(__name__)


@runtime_checkable
class JobTable(Protocol):
    """Where jobs come from and go to."""

    models: ModelTable

    def read(self, job_id: str, *, salvage: bool = False) -> imaging.Image:
        """Read the picture of a job, or what can be decoded of it."""
        ...

    def write(self, job: Job, restored: imaging.Image) -> tuple[str, ...]:
        """Write the result of a job, and return what is to be said about it."""
        ...

    def begin(self, jobs: list[Job]) -> None:
        """Say that jobs have begun."""
        ...

    def finish(self, job: Job, state: JobState, *, message: str, status: int = 200) -> None:
        """Say how a job has ended."""
        ...

    def give_up(self, job: Job) -> None:
        """Say that a job was stopped before its end."""
        ...


class JobRestorer:
    """Does jobs, one after the other, or small ones for one model together.

    Args:
        table: where they come from and go to.
        max_job_s: seconds that one may take.
    """

    def __init__(self, table: JobTable, *, max_job_s: float) -> None:
        self._table = table
        self._max_job_s = max_job_s

    def restore(self, jobs: list[Job]) -> None:
        """Do jobs that ``JobQueue.take`` returned; whatever happens, each of them has ended."""
        self._table.begin(jobs)
        if len(jobs) == 1:
            self._guard(jobs[0], self._restore_one)
            return
        pictures = self._read_wanted(jobs)
        taken: list[Job] = []

        def images() -> Iterator[imaging.Image]:
            for job, image in pictures:
                taken.append(job)
                yield image

        def restore_together(_: Job) -> None:
            restorer = self._table.models.load(jobs[0].record.model)
            for number, restored in enumerate(restorer.restore_many(images())):
                self._guard(taken[number], lambda job, restored=restored: self._write(job, restored))

        self._guard(jobs[0], restore_together)
        for job in jobs:
            # What stopped them all is named by the first; each of the others is tried alone.
            if not job.ended.done():
                self._guard(job, self._restore_one)

    def _read_wanted(self, jobs: list[Job]) -> Iterator[tuple[Job, imaging.Image]]:
        """Read pictures when they are needed, and only those that are still wanted and can be read."""
        for job in jobs:
            read: list[imaging.Image] = []
            self._guard(job, lambda job, read=read: read.append(self._read(job)))
            if read:
                yield job, read[0]

    def _restore_one(self, job: Job) -> None:
        image = self._read(job)
        restorer = self._load(job, image)

        def follow(done: int, total: int) -> None:
            job.done, job.total = done, total
            self._stop_if_unwanted(job)

        self._write(job, restorer(image, progress=follow))

    def _read(self, job: Job) -> imaging.Image:
        return self._table.read(job.record.id, salvage=job.record.salvage)

    def _load(self, job: Job, image: imaging.Image) -> Restorer | Enlarger:
        size = job.record.size
        if size is None:
            return self._table.models.load(job.record.model)
        return self._table.models.load_enlarger(job.record.model, size, image.height, image.width)

    def _write(self, job: Job, restored: imaging.Image) -> None:
        self._stop_if_unwanted(job)
        notes = self._table.write(job, restored)
        self._table.finish(job, JobState.DONE, message=" ".join((*restored.notes, *notes)))

    def _stop_if_unwanted(self, job: Job) -> None:
        if job.is_cancelled.is_set():
            raise CancelledJobError
        if time.time() - job.began_s > self._max_job_s:
            raise UsageError(f"the image takes longer than {self._max_job_s:g} s to restore")

    def _guard(self, job: Job, step: Callable[[Job], object]) -> None:
        """Do a step of a job; whatever it raises ends the job and nothing else."""
        if job.is_cancelled.is_set():
            self._table.give_up(job)
            return
        try:
            step(job)
        except CancelledJobError:
            self._table.give_up(job)
        except SwinIRError as error:
            self._fail(job, str(error), 507 if isinstance(error, DiskFullError) else status_of(error))
        except OSError as error:
            logger.warning("job %s failed: %s", job.record.id, error)
            self._fail(job, "there is no space for the result", 507)
        except Exception:  # one job must never end the thread that all jobs need
            logger.exception("job %s failed", job.record.id)
            self._fail(job, "the service failed on this image", 500)

    def _fail(self, job: Job, message: str, status: int) -> None:
        if not job.ended.done():  # of several that failed together, the first may have its result already
            self._table.finish(job, JobState.FAILED, message=message, status=status)
