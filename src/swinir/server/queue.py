"""Jobs that wait: a bounded queue, which gives out small pictures for one model together."""

import threading
from collections import deque
from contextlib import suppress

from swinir.server.jobs import Job, QueueFullError, StoppingError
from swinir.server.metrics import Metrics

# So many small pictures are restored together.
MOST_TOGETHER = 16


class JobQueue:
    """Jobs in the order of their acceptance; any number of threads may use it.

    Args:
        most: how many may wait.
        metrics: what is counted.
    """

    def __init__(self, most: int, metrics: Metrics) -> None:
        self._most = most
        self._metrics = metrics
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is taken or given out."""
        return self._is_closed

    @property
    def has_room(self) -> bool:
        """Whether one more job would be taken."""
        return not self._is_closed and len(self._waiting) < self._most

    def check_room(self) -> None:
        """Raise what is against one more job.

        Raises:
            QueueFullError, StoppingError: it would not be taken.
        """
        if self._is_closed:
            raise StoppingError("the service is stopping: try again later")
        if len(self._waiting) >= self._most:
            self._metrics.rejected.labels("queue").inc()
            raise QueueFullError(f"{len(self._waiting)} jobs wait already: try again later")

    def put(self, job: Job, *, is_bounded: bool = True) -> None:
        """Add a job; those that were accepted before a restart wait beyond the bound.

        Raises:
            QueueFullError, StoppingError: see ``check_room``.
        """
        with self._changed:
            if is_bounded:
                self.check_room()
            self._waiting.append(job)
            self._count()
            self._changed.notify_all()

    def take(self) -> list[Job] | None:
        """Wait for work: one job, and small ones for the same model that wait with it; None to stop."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            if self._is_closed:
                return None
            first = self._waiting.popleft()
            jobs = [first]
            if first.is_small:
                alike = [job for job in self._waiting if is_alike(job, first)][: MOST_TOGETHER - 1]
                for job in alike:
                    self._waiting.remove(job)
                jobs += alike
            self._count()
            return jobs

    def remove(self, job: Job) -> bool:
        """Take a job out; return whether it was still waiting."""
        with self._changed:
            if job not in self._waiting:
                return False
            self._waiting.remove(job)
            self._count()
            return True

    def position(self, job: Job) -> int:
        """Return how many jobs are before a waiting one."""
        with self._changed, suppress(ValueError):
            return self._waiting.index(job)
        return 0

    def close(self) -> None:
        """Take and give out nothing more; safe in a signal handler. Threads that wait see it with ``wake``."""
        self._is_closed = True

    def wake(self) -> None:
        """Let every thread that waits look again."""
        with self._changed:
            self._changed.notify_all()

    def wait_closed(self, timeout_s: float) -> None:
        """Wait until the queue is closed, or for so long."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed, timeout_s)

    def _count(self) -> None:
        self._metrics.queued.set(len(self._waiting))


def is_alike(job: Job, other: Job) -> bool:
    """Return whether two small pictures go through the same model."""
    return job.is_small and job.record.model == other.record.model and job.record.size is None
