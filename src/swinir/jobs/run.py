"""Files through Restorers, each read, restored and written; one bad file stops nothing.

A CPU is busy with the network, so there files are done one step after the other. A GPU leaves the CPU free: while it
restores one file, the next is read and the last is written, as far as memory allows.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from threading import Lock

import numpy as np
import torch

from swinir import imaging
from swinir.engine import Enlarger, FileRestoration, Picture, Progress, Restorer, hash_file, memory, read_mark
from swinir.errors import ImageWriteError, SwinIRError, UsageError
from swinir.files import remove_leftovers
from swinir.jobs.plan import Job, JobResult, Outcome
from swinir.options import FramesChoice

AnyRestorer = Restorer | Enlarger
ProgressOf = Callable[[Job], Progress | None]
# The most that a pixel takes: four channels of float32.
_MOST_BYTES_PER_PX = 16


@dataclass(frozen=True, kw_only=True)
class _Options:
    """What holds for all jobs."""

    overwrite: bool
    progress_of: ProgressOf | None
    quality: int | None
    limits: imaging.Limits
    frames: FramesChoice
    update: bool
    seen_folders: set[Path] = field(default_factory=set[Path])

    def tidy(self, folder: Path) -> None:
        """Remove what killed runs left in an output folder, once."""
        if folder not in self.seen_folders:
            self.seen_folders.add(folder)
            remove_leftovers(folder)


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
        update: make results again that were made of other inputs or with other settings; else such a job fails.

    Raises:
        UsageError: there is no Restorer.
    """
    team = [restorers] if isinstance(restorers, Restorer | Enlarger) else list(restorers)
    if not team:
        raise UsageError("restorers is empty: give at least one")
    options = _Options(
        overwrite=overwrite,
        progress_of=progress_of,
        quality=quality,
        limits=limits,
        frames=frames,
        update=update,
    )
    return _restore_files(team, jobs, options)


def _restore_files(team: list[AnyRestorer], jobs: Iterable[Job], options: _Options) -> Iterator[JobResult]:
    with ExitStack() as stack:
        readers = writers = None
        if any(_leaves_cpu_free(restorer) for restorer in team):
            readers, writers = (stack.enter_context(ThreadPoolExecutor(len(team))) for _ in range(2))
        queue = _JobQueue(jobs, options, team[0], readers, max_ahead=len(team))
        stack.callback(queue.stop)
        if len(team) == 1:
            yield from _restore_in_order(team[0], queue, writers)
        else:
            yield from _restore_together(team, queue, writers)


class _StoppedError(Exception):
    """The results are no longer wanted."""


class _FileTask:
    """One job on its way. Each step keeps what goes wrong, and those behind it do nothing then."""

    def __init__(self, job: Job, options: _Options, restorer: AnyRestorer) -> None:
        self.job = job
        self.picture: Picture | None = None
        self._options = options
        self._restorer = restorer
        self._file = FileRestoration(
            source=job.source,
            destination=job.destination,
            quality=options.quality,
            limits=options.limits,
            frames=options.frames,
        )
        self._outcome: Outcome | None = None
        self._notes: tuple[str, ...] = ()
        self._error: SwinIRError | None = None
        self._duration_s = 0.0

    def read(self) -> "_FileTask":
        """Decode the input, unless the output is there already."""
        with self._step():
            if self.job.problem is not None:
                raise self.job.problem
            self._options.tidy(self.job.destination.parent)
            if not self._options.overwrite and self.job.destination.exists() and self._is_done():
                self._outcome = Outcome.SKIPPED
            else:
                self.picture = self._file.read(self._restorer)
        return self

    def has_room(self) -> bool:
        """Tell whether the restored image fits the memory: in its own type, and rows in float32, perhaps all."""
        image = self.picture
        if not isinstance(image, imaging.Image):
            return True
        height, width = self._restorer.output_size(image.height, image.width)
        bytes_per_px = image.channels * (image.pixels.itemsize + np.dtype(np.float32).itemsize)
        return _fits(height * width * bytes_per_px)

    def restore(self, restorer: AnyRestorer, queue: "_JobQueue") -> None:
        """Replace the image by its restoration."""
        if self.picture is None:
            return
        with self._step():
            picture, self.picture, self._restorer = self.picture, None, restorer
            progress = self._options.progress_of(self.job) if self._options.progress_of is not None else None
            self.picture = self._file.restore(picture, restorer, queue.until_stopped(progress))

    def write(self) -> JobResult:
        """Encode the image, and return how the job ended."""
        if self.picture is not None:
            with self._step():
                self._notes = self._file.write(self.picture, self._restorer)
                self._outcome = Outcome.DONE
            self.picture = None
        assert self._outcome is not None
        return JobResult(
            job=self.job,
            outcome=self._outcome,
            notes=self._notes,
            error=self._error,
            duration_s=self._duration_s,
        )

    def _is_done(self) -> bool:
        """Tell whether the output that exists is what would be made.

        Raises:
            ImageWriteError: it is not, and may not be replaced.
        """
        job = self.job
        name = imaging.shown_path(job.destination)
        if not job.is_listed:
            raise ImageWriteError(f"{name} exists; choose another output, or allow overwriting")
        mark = read_mark(job.destination)
        # What says nothing of itself, such as a GIF, is taken for what it is called.
        if mark is None:
            return True
        if mark.settings != (settings := self._file.settings(self._restorer)):
            problem = f"was made by other settings ({mark.settings}, not {settings})"
        elif self._is_newer(job) and hash_file(job.source) != mark.source:
            problem = f"was made of another version of {imaging.shown_path(job.source)}"
        else:
            return True
        if not self._options.update:
            raise ImageWriteError(f"{name} {problem}: allow it to be made again (update)")
        return False

    @staticmethod
    def _is_newer(job: Job) -> bool:
        """Tell whether the input may have changed since its output was written."""
        source, made = job.source.stat(), job.destination.stat()
        return max(source.st_mtime_ns, source.st_ctime_ns) >= made.st_mtime_ns

    @contextmanager
    def _step(self) -> Generator[None]:
        start = time.monotonic()
        try:
            yield
        except UsageError:
            # Of what holds for all jobs: it would fail each.
            raise
        except (SwinIRError, OSError) as error:
            if isinstance(error, OSError):
                error = ImageWriteError(
                    f"{imaging.shown_path(self.job.destination)} cannot be written ({error.strerror or error})"
                )
            self._outcome, self._error, self.picture = Outcome.FAILED, error, None
        finally:
            self._duration_s += time.monotonic() - start


class _JobQueue:
    """The jobs that wait: handed out in order, each once, and read ahead by ``readers`` where there are any."""

    def __init__(
        self,
        jobs: Iterable[Job],
        options: _Options,
        restorer: AnyRestorer,
        readers: ThreadPoolExecutor | None,
        *,
        max_ahead: int,
    ) -> None:
        self._jobs = iter(jobs)
        self._restorer = restorer
        self._options = options
        self._readers = readers
        self._max_ahead = max_ahead
        self._ahead: deque[Future[_FileTask]] = deque()
        self._lock = Lock()
        self._is_stopped = False

    def take(self) -> _FileTask | None:
        """Return the next one, read; None if there is none."""
        with self._lock:
            if self._is_stopped:
                return None
            if self._readers is None:
                job = next(self._jobs, None)
                read = None if job is None else _FileTask(job, self._options, self._restorer).read
            else:
                self._read_ahead(self._readers, 1)
                read = self._ahead.popleft().result if self._ahead else None
                if self.has_room():
                    self._read_ahead(self._readers, self._max_ahead)
        return None if read is None else read()

    def has_room(self) -> bool:
        """Tell whether any input that is allowed fits the memory beside what is there."""
        return _fits(self._options.limits.max_pixels * _MOST_BYTES_PER_PX)

    def stop(self) -> None:
        """Hand out nothing more, and end what runs."""
        with self._lock:
            self._is_stopped = True
            for waiting in self._ahead:
                waiting.cancel()
            self._ahead.clear()

    def until_stopped(self, progress: Progress | None) -> Progress:
        """Return a progress that calls ``progress``, and ends the restoration it follows when all stop."""

        def follow(done: int, total: int) -> None:
            if self._is_stopped:
                raise _StoppedError
            if progress is not None:
                progress(done, total)

        return follow

    def _read_ahead(self, readers: ThreadPoolExecutor, most: int) -> None:
        while len(self._ahead) < most and (job := next(self._jobs, None)) is not None:
            self._ahead.append(readers.submit(_FileTask(job, self._options, self._restorer).read))


def _restore_in_order(
    restorer: AnyRestorer, queue: _JobQueue, writers: ThreadPoolExecutor | None
) -> Iterator[JobResult]:
    """Restore what the queue hands out; where there are ``writers``, one output is written behind the next one."""
    behind: Future[JobResult] | None = None
    while True:
        if behind is not None and not queue.has_room():
            yield behind.result()
            behind = None
        task = queue.take()
        if task is None:
            break
        if behind is not None and not task.has_room():
            yield behind.result()
            behind = None
        task.restore(restorer, queue)
        if writers is None:
            yield task.write()
            continue
        writing = writers.submit(task.write)
        if behind is not None:
            yield behind.result()
        behind = writing
    if behind is not None:
        yield behind.result()


def _restore_together(
    team: list[AnyRestorer], queue: _JobQueue, writers: ThreadPoolExecutor | None
) -> Iterator[JobResult]:
    """Have each of the team restore, in a thread of its own, what it takes from the queue."""
    # None stands for a thread that has ended.
    results: SimpleQueue[JobResult | BaseException | None] = SimpleQueue()

    def work(restorer: AnyRestorer) -> None:
        try:
            for result in _restore_in_order(restorer, queue, writers):
                results.put(result)
            results.put(None)
        except _StoppedError:
            results.put(None)
        except BaseException as error:
            results.put(error)
            raise

    with ThreadPoolExecutor(len(team)) as threads:
        for restorer in team:
            threads.submit(work, restorer)
        try:
            remaining = len(team)
            while remaining > 0:
                result = results.get()
                if isinstance(result, BaseException):
                    raise result
                if result is None:
                    remaining -= 1
                else:
                    yield result
        finally:
            queue.stop()


def _leaves_cpu_free(restorer: AnyRestorer) -> bool:
    return restorer.device.type != "cpu"


def _fits(num_bytes: int) -> bool:
    """Tell whether so much more can be held in the memory of the machine."""
    free_bytes = memory.available_bytes(torch.device("cpu"))
    return num_bytes <= memory.FREE_MEMORY_FRACTION * free_bytes
