"""Jobs from acceptance to result: a bounded queue, and threads that restore.

One pass at a time fills a device, so jobs wait in one queue; small pictures for one model are restored together.
Everything that a job needs is on the disk before it is accepted, so whatever stops the process only delays it.
"""

import logging
import secrets
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from swinir import imaging
from swinir.errors import ImageError, ImageTooLargeError, ImageWriteError, SwinIRError, UsageError
from swinir.server.decoder import DecodeLimits, Decoder
from swinir.server.errors import status_of
from swinir.server.metrics import Metrics
from swinir.server.models import ModelTable
from swinir.server.options import ServerOptions
from swinir.server.store import FINISHED, JobRecord, JobState, JobStore

logger = logging.getLogger(__name__)

# Pictures up to this many pixels are restored together, and so many of them.
SMALL_PIXELS, MOST_TOGETHER = 512 * 512, 16
# A job that brings the process down this often is given up.
MOST_ATTEMPTS = 3
# Seconds between two searches for what has expired.
SWEEP_S = 30.0


class QueueFullError(SwinIRError):
    """As many jobs wait as are allowed, or the service is stopping."""


class DiskFullError(SwinIRError):
    """The jobs fill the disk space that they are given."""


class CancelledJobError(Exception):
    """The job is no longer wanted; raised within its progress callback."""


@dataclass
class Job:
    """A job in memory: its record, how far it is, and what to do when it ends."""

    record: JobRecord
    is_cancelled: threading.Event = field(default_factory=threading.Event)
    ended: "Future[JobRecord]" = field(default_factory=Future)
    began_s: float = 0.0
    done: int = 0
    total: int = 0

    @property
    def fraction(self) -> float:
        """How much is done, from 0 to 1."""
        return self.done / self.total if self.total else 0.0

    def remaining_s(self, now_s: float) -> float | None:
        """Estimated seconds until it ends, once something of it is done."""
        if not self.done or not self.began_s:
            return None
        return (now_s - self.began_s) * (self.total - self.done) / self.done


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
        self._folder = options.data / "jobs"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._store = JobStore(options.data)
        self._decoder = Decoder(
            DecodeLimits(
                max_pixels=options.max_pixels,
                seconds=options.decode_s,
                address_space_bytes=options.decode_bytes,
            )
        )
        self._waiting: deque[Job] = deque()
        self._jobs: dict[str, Job] = {}
        self._changed = threading.Condition()
        self._is_loaded = False
        self._is_stopping = False
        self._threads: list[threading.Thread] = []

    @property
    def is_ready(self) -> bool:
        """Whether a job would be accepted and begun now: a model is loaded, the queue is open and not full."""
        is_open = not self._is_stopping and len(self._waiting) < self.options.max_queue
        return self._is_loaded and is_open

    def start(self) -> None:
        """Begin to work, first on what was left unfinished."""
        self._recover()
        workers = [self._work] * self.options.workers
        for number, target in enumerate([*workers, self._sweep]):
            thread = threading.Thread(target=target, name=f"swinir-server-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def close_queue(self) -> None:
        """Accept and begin nothing more; safe in a signal handler."""
        self._is_stopping = True

    def stop(self) -> None:
        """Stop working: what runs has ``grace_s`` seconds, what waits is done after the next start."""
        deadline = time.monotonic() + self.options.grace_s
        self.close_queue()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for job in list(self._jobs.values()):
            job.is_cancelled.set()
        for thread in self._threads:
            thread.join(self.options.grace_s)
        self._decoder.close()
        self._store.close()

    def reserve_folder(self) -> Path:
        """Return a new folder for an upload; its name is the job's id.

        Raises:
            QueueFullError: the queue is full, or the service is stopping.
            DiskFullError: the disk space for jobs is used up.
        """
        self._refuse_if_full()
        used = folder_bytes(self._folder)
        self.metrics.disk_bytes.set(used)
        if used > self.options.max_disk_bytes:
            self.metrics.rejected.labels("disk").inc()
            raise DiskFullError("the results of other jobs fill the disk space: try again later")
        folder = self._folder / secrets.token_urlsafe(18)
        folder.mkdir()
        return folder

    def check_upload(self, folder: Path, scale: int) -> None:
        """Read an upload as it will be read when its turn comes.

        Raises:
            ImageError: it cannot be read, or is too large, or its result would be.
        """
        image = self._read(folder)
        num_pixels = image.width * image.height * scale**2
        if num_pixels > self.options.max_output_pixels:
            raise ImageTooLargeError(
                f"the result would have {num_pixels:,} pixels, and the limit is "
                f"{self.options.max_output_pixels:,} (--max-output-megapixels)"
            )

    def submit(
        self, folder: Path, *, model: str, image_format: str, quality: int | None, name: str, is_kept: bool
    ) -> Job:
        """Accept a job whose upload lies in its folder; from now on it is done, whatever happens.

        Raises:
            QueueFullError: the queue is full, or the service is stopping.
        """
        now_s = time.time()
        record = JobRecord(
            id=folder.name,
            state=JobState.QUEUED,
            created_s=now_s,
            updated_s=now_s,
            model=model,
            format=image_format,
            quality=quality,
            name=name[:200],
            is_kept=is_kept,
        )
        with self._changed:
            self._refuse_if_full()
            self._store.add(record)
            job = self._enqueue(record)
        self.metrics.accepted.inc()
        return job

    def find(self, job_id: str) -> Job | None:
        """Return a job by its id, or None."""
        job = self._jobs.get(job_id)
        if job is not None:
            return job
        record = self._store.get(job_id)
        return None if record is None else Job(record)

    def position(self, job: Job) -> int:
        """Return how many jobs are before a waiting one."""
        with self._changed, suppress(ValueError):
            return self._waiting.index(job)
        return 0

    def cancel(self, job_id: str) -> JobRecord | None:
        """Give a job up, or forget the result of a finished one; return it as it was, or None for no job."""
        job = self._jobs.get(job_id)
        if job is None:
            record = self._store.get(job_id)
            if record is not None:
                self._forget(record)
            return record
        job.is_cancelled.set()
        with self._changed:
            is_waiting = job in self._waiting
            if is_waiting:
                self._waiting.remove(job)
                self.metrics.queued.set(len(self._waiting))
        if is_waiting:
            self._finish(job, JobState.CANCELLED, message="cancelled", status=409)
        return job.record

    def result_path(self, record: JobRecord) -> Path:
        """Return where the result of a finished job lies."""
        return self._folder / record.id / f"result.{record.format}"

    def discard(self, folder: Path) -> None:
        """Remove a folder that became no job."""
        shutil.rmtree(folder, ignore_errors=True)

    def _refuse_if_full(self) -> None:
        if self._is_stopping:
            raise QueueFullError("the service is stopping: try again later")
        if len(self._waiting) >= self.options.max_queue:
            self.metrics.rejected.labels("queue").inc()
            raise QueueFullError(f"{len(self._waiting)} jobs wait already: try again later")

    def _enqueue(self, record: JobRecord) -> Job:
        job = Job(record)
        self._jobs[record.id] = job
        self._waiting.append(job)
        self.metrics.queued.set(len(self._waiting))
        self._changed.notify_all()
        return job

    def _recover(self) -> None:
        with self._changed:
            for record in self._store.unfinished():
                if record.is_kept and record.num_attempts < MOST_ATTEMPTS:
                    self._enqueue(self._store.update(record, state=JobState.QUEUED))
                else:
                    self._store.update(
                        record,
                        state=JobState.FAILED,
                        message="interrupted by a stop of the service",
                        status=500,
                    )
        known = self._store.ids()
        for folder in self._folder.iterdir():
            if folder.name not in known:
                self.discard(folder)

    def _work(self) -> None:
        self._load_first_model()
        while (jobs := self._take()) is not None:
            self.metrics.running.inc(len(jobs))
            try:
                self._restore(jobs)
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

    def _take(self) -> list[Job] | None:
        """Wait for work: one job, and small ones for the same model that wait with it; None to stop."""
        with self._changed:
            while not self._waiting and not self._is_stopping:
                self._changed.wait()
            if self._is_stopping:
                return None
            first = self._waiting.popleft()
            jobs = [first]
            if self._is_small(first):
                alike = [job for job in self._waiting if job.record.model == first.record.model]
                for job in alike[: MOST_TOGETHER - 1]:
                    if self._is_small(job):
                        self._waiting.remove(job)
                        jobs.append(job)
            self.metrics.queued.set(len(self._waiting))
            return jobs

    def _is_small(self, job: Job) -> bool:
        with suppress(OSError):
            # An upload of few bytes is most often a small picture; a large one among them only takes longer.
            return self._upload(job.record.id).stat().st_size <= SMALL_PIXELS
        return False

    def _restore(self, jobs: list[Job]) -> None:
        now_s = time.time()
        for job in jobs:
            job.record = self._store.update(
                job.record, state=JobState.RUNNING, num_attempts=job.record.num_attempts + 1
            )
            job.began_s = now_s
        if len(jobs) == 1:
            self._guarded(jobs[0], self._restore_one)
            return
        ready: list[tuple[Job, imaging.Image]] = []
        for job in jobs:
            self._guarded(job, lambda job: ready.append((job, self._read(self._folder / job.record.id))))
        ready = [(job, image) for job, image in ready if not job.ended.done()]
        if not ready:
            return
        try:
            restorer = self.models.load(jobs[0].record.model)
            results = restorer.restore_many(image for _, image in ready)
            for (job, _), restored in zip(ready, results, strict=True):
                self._guarded(job, lambda job, restored=restored: self._write(job, restored))
        except SwinIRError as error:
            for job, _ in ready:
                if not job.ended.done():
                    self._fail(job, error)

    def _restore_one(self, job: Job) -> None:
        image = self._read(self._folder / job.record.id)
        restorer = self.models.load(job.record.model)

        def follow(done: int, total: int) -> None:
            job.done, job.total = done, total
            self._stop_if_unwanted(job)

        self._write(job, restorer(image, progress=follow))

    def _stop_if_unwanted(self, job: Job) -> None:
        if job.is_cancelled.is_set():
            raise CancelledJobError
        if time.time() - job.began_s > self.options.max_job_s:
            raise UsageError(f"the image takes longer than {self.options.max_job_s:g} s to restore")

    def _guarded(self, job: Job, step: Callable[[Job], object]) -> None:
        """Do a step of a job; whatever it raises ends the job and nothing else."""
        if job.is_cancelled.is_set():
            self._give_up(job)
            return
        try:
            step(job)
        except CancelledJobError:
            self._give_up(job)
        except SwinIRError as error:
            self._fail(job, error)
        except OSError as error:
            logger.warning("job %s failed: %s", job.record.id, error)
            self._finish(job, JobState.FAILED, message="there is no space for the result", status=507)
        except Exception:  # one job must never end the thread that all jobs need
            logger.exception("job %s failed", job.record.id)
            self._finish(job, JobState.FAILED, message="the service failed on this image", status=500)

    def _give_up(self, job: Job) -> None:
        if self._is_stopping and job.record.is_kept:
            # Not its client's wish: it is done after the next start.
            job.record = self._store.update(
                job.record, state=JobState.QUEUED, num_attempts=job.record.num_attempts - 1
            )
            job.ended.cancel()
            return
        self._finish(job, JobState.CANCELLED, message="cancelled", status=409)

    def _fail(self, job: Job, error: SwinIRError) -> None:
        status = 507 if isinstance(error, ImageWriteError) else status_of(error)
        self._finish(job, JobState.FAILED, message=str(error), status=status)

    def _write(self, job: Job, restored: imaging.Image) -> None:
        self._stop_if_unwanted(job)
        notes = imaging.write(restored, self.result_path(job.record), quality=job.record.quality)
        self._finish(job, JobState.DONE, message=" ".join((*restored.notes, *notes)))

    def _finish(self, job: Job, state: JobState, *, message: str, status: int = 200) -> None:
        job.record = self._store.update(job.record, state=state, message=message, status=status)
        self._jobs.pop(job.record.id, None)
        self._upload(job.record.id).unlink(missing_ok=True)
        self.metrics.finished.labels(state.value).inc()
        if state is JobState.FAILED:
            self.metrics.failed.labels(str(status)).inc()
        self.metrics.seconds.labels(job.record.model).observe(time.time() - job.record.created_s)
        job.ended.set_result(job.record)

    def _read(self, folder: Path) -> imaging.Image:
        try:
            return self._decoder.read(self._upload(folder.name))
        except ImageError:
            self.metrics.decoder_restarts.set(self._decoder.num_restarts)
            raise

    def _upload(self, job_id: str) -> Path:
        return self._folder / job_id / "upload"

    def forget(self, record: JobRecord) -> None:
        """Remove a finished job and its result."""
        self._forget(record)

    def _forget(self, record: JobRecord) -> None:
        if record.state in FINISHED:
            self._store.remove(record.id)
            self.discard(self._folder / record.id)

    def _sweep(self) -> None:
        while not self._is_stopping:
            for record in self._store.finished_before(time.time() - self.options.result_s):
                self._forget(record)
            with self._changed:
                self._changed.wait_for(lambda: self._is_stopping, timeout=SWEEP_S)


def folder_bytes(folder: Path) -> int:
    """Return the size of all files below a folder."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total
