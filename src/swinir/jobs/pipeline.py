"""Files through Restorers that leave the CPU free, or several: read ahead, and written behind.

While a GPU restores one file, the next is read and the last is written, as far as memory allows.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue
from threading import Lock

from swinir.engine import Progress
from swinir.engine.hardware import is_cpu
from swinir.jobs.options import AnyRestorer, JobOptions
from swinir.jobs.plan import Job, JobResult
from swinir.jobs.task import FileTask, fits_memory

# The most that a pixel takes: four channels of float32.
_MOST_BYTES_PER_PX = 16


def restore_in_pipeline(
    team: list[AnyRestorer], jobs: Iterable[Job], options: JobOptions
) -> Iterator[JobResult]:
    """Do all jobs and yield what came of each; see ``restore_files``."""
    with ExitStack() as stack:
        readers = writers = None
        if not all(is_cpu(restorer.device) for restorer in team):
            readers, writers = (stack.enter_context(ThreadPoolExecutor(len(team))) for _ in range(2))
        queue = _JobQueue(jobs, options, team[0], readers, max_ahead=len(team))
        stack.callback(queue.stop)
        if len(team) == 1:
            yield from _restore_in_order(team[0], queue, writers)
        else:
            yield from _restore_together(team, queue, writers)


class _StoppedError(Exception):
    """The results are no longer wanted."""


class _JobQueue:
    """The jobs that wait: handed out in order, each once, and read ahead by ``readers`` where there are any."""

    def __init__(
        self,
        jobs: Iterable[Job],
        options: JobOptions,
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
        self._ahead: deque[Future[FileTask]] = deque()
        self._lock = Lock()
        self._is_stopped = False

    def take(self) -> FileTask | None:
        """Return the next one, read; None if there is none."""
        with self._lock:
            if self._is_stopped:
                return None
            if self._readers is None:
                job = next(self._jobs, None)
                read = None if job is None else FileTask(job, self._options, self._restorer).read
            else:
                self._read_ahead(self._readers, 1)
                read = self._ahead.popleft().result if self._ahead else None
                if self.has_room():
                    self._read_ahead(self._readers, self._max_ahead)
        return None if read is None else read()

    def has_room(self) -> bool:
        """Tell whether any input that is allowed fits the memory beside what is there."""
        return fits_memory(self._options.limits.max_pixels * _MOST_BYTES_PER_PX)

    def stop(self) -> None:
        """Hand out nothing more, and end what runs."""
        with self._lock:
            self._is_stopped = True
            for waiting in self._ahead:
                if not waiting.cancel():
                    waiting.add_done_callback(_give_up)
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
            self._ahead.append(readers.submit(FileTask(job, self._options, self._restorer).read))


def _give_up(read: "Future[FileTask]") -> None:
    """Give back what was read and will not be restored."""
    if read.exception() is None:
        read.result().give_up()


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
        task.restore(restorer, queue.until_stopped)
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
