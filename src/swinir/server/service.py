"""Jobs from acceptance to result.

One pass at a time fills a device, so jobs wait in one queue; small pictures for one model are restored together.
Everything that a job needs is on the disk before it is accepted, so whatever stops the process only delays it.
"""

import logging
import threading
import time
from dataclasses import replace
from typing import Any

from swinir import imaging
from swinir.errors import ImageError, ImageTooLargeError, ImageWriteError, SwinIRError, UsageError
from swinir.server.decoder import DecodeLimits, Decoder
from swinir.server.jobs import DiskFullError, Job, JobFiles
from swinir.server.metrics import Metrics
from swinir.server.models import Choice, ModelTable
from swinir.server.options import ServerOptions
from swinir.server.queue import JobQueue
from swinir.server.restoring import JobRestorer
from swinir.server.store import FINISHED, JobRecord, JobState, JobStore, StoreError

logger = logging.getLogger(__name__)

# Pictures up to this many pixels are restored together with others.
SMALL_PIXELS = 512 * 512
# A job that brings the process down this often is given up.
MOST_ATTEMPTS = 3
# Seconds that a job which is stopped has to end its tile; else it is done after the next start all the same.
TILE_S = 5.0
# Seconds between two searches for what has expired.
SWEEP_S = 30.0


class Service:
    """Accepts, restores, keeps and forgets jobs.

    Args:
        options: its bounds.
        models: what may be chosen.
        metrics: what is counted.
    """

    def __init__(self, options: ServerOptions, models: ModelTable, metrics: Metrics) -> None:
        self.options = options
        self.models = models
        self.metrics = metrics
        self.files = JobFiles(options.data / "jobs")
        self.queue = JobQueue(options.max_queue, metrics)
        self._store = JobStore(options.data)
        self._decoder = Decoder(
            DecodeLimits(
                max_pixels=options.max_pixels,
                seconds=options.decode_s,
                address_space_bytes=options.decode_bytes,
            )
        )
        self._restorer = JobRestorer(self, max_job_s=options.max_job_s)
        self._jobs: dict[str, Job] = {}
        self._forgotten: set[str] = set()
        self._is_loaded = False
        self._threads: list[threading.Thread] = []
        self._stops_at_s: float | None = None

    @property
    def is_ready(self) -> bool:
        """Whether a job would be accepted and begun now: a model is loaded, the queue is open and not full."""
        return self._is_loaded and self.queue.has_room

    def start(self) -> None:
        """Begin to work, first on what was left unfinished."""
        self._recover()
        workers = [self._work] * self.options.workers
        for number, target in enumerate([*workers, self._sweep]):
            thread = threading.Thread(target=target, name=f"swinir-server-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """Accept and begin nothing more; what runs has ``grace_s`` seconds from now. Safe in a signal handler."""
        if self._stops_at_s is None:
            self._stops_at_s = time.monotonic() + self.options.grace_s
        self.queue.close()

    def kill(self) -> None:
        """Leave no process behind; this one ends at once. Safe in a signal handler."""
        self._decoder.kill()

    def stop(self) -> None:
        """Stop working: what runs has ``grace_s`` seconds, what waits is done after the next start."""
        self.close()
        self.queue.wake()
        self._join(self._stops_at_s or 0.0)
        for job in list(self._jobs.values()):
            job.is_cancelled.set()
        self._join(time.monotonic() + TILE_S)
        for job in list(self._jobs.values()):
            job.ended.cancel()  # whoever waits for one that was not begun
        self._decoder.close()
        self._store.close()

    def reserve(self) -> str:
        """Return the id of a new job, whose folder is there for its upload.

        Raises:
            QueueFullError, StoppingError: it would not be accepted.
            DiskFullError: the disk space for jobs is used up.
        """
        self.queue.check_room()
        self.check_space()
        try:
            return self.files.reserve()
        except OSError as error:
            raise DiskFullError("there is no space for the upload: try again later") from error

    def check_upload(self, job_id: str, choice: Choice, *, salvage: bool = False) -> tuple[int, int]:
        """Read an upload as it will be read when it is restored; return its height and width.

        Raises:
            ImageError: it cannot be read, or is too large, or its result would be.
            UsageError: no models make the size that is asked for.
        """
        image = self.read(job_id, salvage=salvage)
        height, width = self.models.output_size(choice, image.height, image.width)
        if height * width > self.options.max_output_pixels:
            raise ImageTooLargeError(
                f"the result would have {height * width:,} pixels, and the limit is "
                f"{self.options.max_output_pixels:,} (--max-output-megapixels)"
            )
        return image.height, image.width

    def submit(self, record: JobRecord, *, num_pixels: int = SMALL_PIXELS + 1) -> Job:
        """Accept a job whose upload lies in its folder; from now on it is done, whatever happens.

        Raises:
            QueueFullError, StoppingError: it is not accepted.
            DiskFullError: the disk is full.
        """
        self.queue.check_room()
        try:
            self._store.add(record)
        except StoreError as error:
            raise DiskFullError("there is no space for the job: try again later") from error
        job = Job(record, is_small=num_pixels <= SMALL_PIXELS)
        self._jobs[record.id] = job
        try:
            self.queue.put(job)
        except SwinIRError:
            self._jobs.pop(record.id)
            self._store.remove(record.id)
            raise
        self.metrics.accepted.inc()
        return job

    def find(self, job_id: str) -> Job | None:
        """Return a job by its id, or None."""
        job = self._jobs.get(job_id)
        if job is not None:
            return job
        record = None if job_id in self._forgotten else self._store.get(job_id)
        return None if record is None else Job(record)

    def cancel(self, job_id: str) -> None:
        """Give a job up, or forget the result of a finished one."""
        job = self.find(job_id)
        if job is None:
            return
        if job.record.state in FINISHED:
            self.forget(job.record)
            return
        job.is_cancelled.set()
        if self.queue.remove(job):
            self.finish(job, JobState.CANCELLED, message="cancelled", status=409)

    def forget(self, record: JobRecord) -> None:
        """Remove a finished job and its result; what a full disk keeps in the list is removed from it later."""
        if record.state not in FINISHED:
            return
        self._jobs.pop(record.id, None)
        self.files.discard(record.id)
        try:
            self._store.remove(record.id)
        except StoreError as error:
            logger.warning("job %s cannot be removed: %s", record.id, error)
            self._forgotten.add(record.id)
        else:
            self._forgotten.discard(record.id)

    def begin(self, jobs: list[Job]) -> None:
        """Say that jobs have begun."""
        now_s = time.time()
        for job in jobs:
            job.began_s = now_s
            self._save(job, state=JobState.RUNNING, num_attempts=job.record.num_attempts + 1)

    def finish(self, job: Job, state: JobState, *, message: str, status: int = 200) -> None:
        """Say how a job has ended."""
        if self._save(job, state=state, message=message, status=status):
            self._drop(job)
        self.metrics.finished.labels(state.value).inc()
        if state is JobState.FAILED:
            self.metrics.failed.labels(str(status)).inc()
        self.metrics.seconds.labels(job.record.model).observe(time.time() - job.record.created_s)
        job.ended.set_result(job.record)

    def give_up(self, job: Job) -> None:
        """Say that a job was stopped before its end: its client left, or the service stops."""
        if self.queue.is_closed and job.record.is_kept:
            # Not its client's wish: it is done after the next start.
            self._save(job, state=JobState.QUEUED, num_attempts=job.record.num_attempts - 1)
            job.ended.cancel()
            return
        self.finish(job, JobState.CANCELLED, message="cancelled", status=409)

    def read(self, job_id: str, *, salvage: bool = False) -> imaging.Image:
        """Read the picture of a job, or what can be decoded of it.

        Raises:
            ImageError: it cannot be read.
        """
        try:
            return self._decoder.read(self.files.upload(job_id), salvage=salvage)
        except ImageError:
            self.metrics.decoder_restarts.set(self._decoder.num_restarts)
            raise

    def write(self, job: Job, restored: imaging.Image) -> tuple[str, ...]:
        """Write the result of a job, and return what is to be said about it.

        Raises:
            UsageError: its format cannot hold it.
            DiskFullError: it cannot be written, or with it the jobs take more than their disk space.
        """
        path = self.files.result(job.record)
        try:
            notes = imaging.write(restored, path, quality=job.record.quality)
        except ImageWriteError as error:
            if error.__cause__ is None:  # neither the disk nor a library refuses
                raise UsageError(str(error).replace(str(path), "the result")) from error
            logger.warning("job %s: %s", job.record.id, error)
            raise DiskFullError("there is no space for the result: try again later") from error
        try:
            self.check_space()
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return notes

    def check_space(self) -> None:
        """Raise DiskFullError where uploads and results take more than their disk space."""
        used = self.files.num_bytes()
        self.metrics.disk_bytes.set(used)
        if used > self.options.max_disk_bytes:
            self.metrics.rejected.labels("disk").inc()
            raise DiskFullError("uploads and results fill the disk space for jobs: try again later")

    def _save(self, job: Job, **changes: Any) -> bool:
        """Store changes of a job; where the disk is full they are in memory, and are stored when there is space."""
        try:
            job.record = self._store.update(job.record, **changes)
        except StoreError as error:
            logger.warning("job %s cannot be stored: %s", job.record.id, error)
            job.record = replace(job.record, **changes)
            return False
        return True

    def _drop(self, job: Job) -> None:
        """Keep no more of a job that has ended than its record and its result."""
        self._jobs.pop(job.record.id, None)
        self.files.upload(job.record.id).unlink(missing_ok=True)

    def _recover(self) -> None:
        for record in self._store.unfinished():
            job = Job(record)
            self._jobs[record.id] = job
            if record.is_kept and record.num_attempts < MOST_ATTEMPTS:
                self._save(job, state=JobState.QUEUED)
                self.queue.put(job, is_bounded=False)
            else:
                message = "interrupted by a stop of the service"
                self._save(job, state=JobState.FAILED, message=message, status=500)
        self.files.discard_unknown(self._store.ids())

    def _work(self) -> None:
        self._load_first_model()
        while (jobs := self.queue.take()) is not None:
            self.metrics.running.inc(len(jobs))
            try:
                self._restorer.restore(jobs)
            finally:
                self.metrics.running.dec(len(jobs))

    def _load_first_model(self) -> None:
        """Load what most requests want, so that the first one does not wait for it."""
        name = self.models.preferred()
        try:
            self.models.load(name)
        except SwinIRError as error:
            logger.warning("the model %s cannot be loaded: %s", name, error)
        self._is_loaded = True

    def _join(self, deadline_s: float) -> None:
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))

    def _sweep(self) -> None:
        while not self.queue.is_closed:
            try:
                self._sweep_once()
            except StoreError as error:
                logger.warning("what has expired is kept for now: %s", error)
            self.queue.wait_closed(SWEEP_S)

    def _sweep_once(self) -> None:
        """Store what could not be stored before, and forget what has expired."""
        for job_id in list(self._forgotten):
            self._store.remove(job_id)
            self._forgotten.discard(job_id)
        for job in list(self._jobs.values()):
            if job.record.state in FINISHED and self._save(job):
                self._drop(job)
        for record in self._store.finished_before(time.time() - self.options.result_s):
            self.forget(record)
