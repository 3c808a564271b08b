"""Jobs on workers that may be lost at any moment: each job has one result, and each output is there once and whole.

Nothing here knows where workers are: ``cluster.py`` has those of Ray.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from swinir.errors import ClusterError, RestoreError, SwinIRError
from swinir.imaging import shown_path
from swinir.jobs.plan import Job, JobResult, Outcome

# A file that takes its worker with it so often is not tried again.
MOST_LOSSES = 3
# So many workers that do not start, one after the other, are not replaced.
MOST_FAILED_STARTS = 3


class WorkerLostError(Exception):
    """The process that was to answer is gone; the message says why, if that is known."""


@dataclass(eq=False)
class Task:
    """A job on its way through workers.

    Attributes:
        job: what is done.
        step: of a job in pieces, a piece or all of them to be joined, as workers know them; None for the whole job.
        state: of a job in pieces.
        num_losses: workers that were lost while they did it.
    """

    job: Job
    step: Any = None
    state: "PiecesState | None" = None
    num_losses: int = 0

    @property
    def is_joining(self) -> bool:
        """Whether all pieces are done and joined now."""
        return self.state is not None and self.step is self.state.cut


@dataclass(eq=False)
class PiecesState:
    """How far a job in pieces is.

    Attributes:
        cut: the pieces.
        num_left: pieces that are not done.
        duration_s: of those that are.
        is_failed: one of them is, and the others are not wanted.
    """

    cut: Any
    num_left: int
    duration_s: float = 0.0
    is_failed: bool = False


class Workers(Protocol):
    """Processes that do tasks; what ``start`` and ``submit`` return is known to them alone.

    Attributes:
        tasks_at_once: that a worker does side by side.
    """

    tasks_at_once: int

    def start(self) -> tuple[Any, Any]:
        """Begin to start a worker; return it, and the call that ends when it is ready."""
        ...

    def submit(self, worker: Any, task: Task) -> Any:
        """Have a worker do a task; return the call."""
        ...

    def wait(self, calls: Sequence[Any]) -> Sequence[Any]:
        """Wait until one of the calls has ended, or more; return those."""
        ...

    def answer(self, call: Any) -> Any:
        """Return what a call that has ended returned.

        That is the result of a job or of a piece, None from a worker that is ready, an error of all jobs, or what
        has ``pieces`` in place of a job: each is a task of its own, and then all together are.

        Raises:
            WorkerLostError: its worker is gone.
        """
        ...

    def stop(self, worker: Any) -> None:
        """End a worker, whatever it does."""
        ...


@dataclass(eq=False)
class _Worker:
    handle: Any
    starting: Any
    tasks: dict[Any, Task] = field(default_factory=dict[Any, Task])

    @property
    def calls(self) -> list[Any]:
        return list(self.tasks) if self.starting is None else [self.starting]


def restore_on_workers(workers: Workers, jobs: Iterable[Job], *, number: int) -> Iterator[JobResult]:
    """Do all jobs on so many workers, and yield what came of each as it is there.

    A task whose worker is lost goes to another one, and a new worker takes the place of the lost one. Closing the
    iterator, or an interrupt, ends all workers.

    Raises:
        ClusterError: workers do not start.
        SwinIRError: an error of all jobs, such as a choice that is impossible there.
    """
    dispatcher = _Dispatcher(workers, jobs)
    try:
        yield from dispatcher.run(number)
    finally:
        dispatcher.stop()


class _Dispatcher:
    def __init__(self, workers: Workers, jobs: Iterable[Job]) -> None:
        self._workers = workers
        self._jobs = iter(jobs)
        self._again: deque[Task] = deque()
        self._team: list[_Worker] = []
        self._failed_starts = 0

    def run(self, number: int) -> Iterator[JobResult]:
        first = self._next()
        if first is None:
            return
        self._again.append(first)
        for _ in range(number):
            self._start()
        while True:
            yield from self._hand_out()
            if not any(worker.tasks for worker in self._team) and not self._again:
                return
            owners = {call: worker for worker in self._team for call in worker.calls}
            for call in self._workers.wait(list(owners)):
                # A worker that was lost has taken its other calls with it.
                if owners[call] in self._team and call in owners[call].calls:
                    yield from self._take(owners[call], call)

    def stop(self) -> None:
        for worker in self._team:
            self._workers.stop(worker.handle)
        self._team.clear()

    def _start(self) -> None:
        self._team.append(_Worker(*self._workers.start()))

    def _next(self) -> Task | None:
        if self._again:
            return self._again.popleft()
        job = next(self._jobs, None)
        return None if job is None else Task(job)

    def _hand_out(self) -> Iterator[JobResult]:
        """Give tasks to workers that are free, to the least busy first; a job that cannot be done ends here."""
        while True:
            free = [each for each in self._team if each.starting is None]
            worker = min(free, key=lambda each: len(each.tasks), default=None)
            if worker is None or len(worker.tasks) >= self._workers.tasks_at_once:
                return
            task = self._next()
            if task is None:
                return
            if task.job.problem is not None:
                yield JobResult(job=task.job, outcome=Outcome.FAILED, error=task.job.problem)
            else:
                worker.tasks[self._workers.submit(worker.handle, task)] = task

    def _take(self, worker: _Worker, call: Any) -> Iterator[JobResult]:
        try:
            answer = self._workers.answer(call)
        except WorkerLostError as error:
            yield from self._replace(worker, error)
            return
        if isinstance(answer, SwinIRError):
            raise answer
        if answer is None:
            worker.starting, self._failed_starts = None, 0
            return
        task = worker.tasks.pop(call)
        if isinstance(answer, JobResult):
            # The worker that was lost had finished it.
            is_done = task.num_losses > 0 and answer.outcome is Outcome.SKIPPED
            yield from self._end(
                task, replace(answer, job=task.job, outcome=Outcome.DONE if is_done else answer.outcome)
            )
            return
        state = PiecesState(answer, num_left=len(answer.pieces))
        self._again.extendleft(Task(task.job, piece, state) for piece in reversed(answer.pieces))

    def _end(self, task: Task, result: JobResult) -> Iterator[JobResult]:
        """Yield the result of a job, that of one in pieces when all are joined or one has failed."""
        state = task.state
        if state is None:
            yield result
            return
        if state.is_failed:
            return
        state.duration_s += result.duration_s
        if result.outcome is Outcome.FAILED or task.is_joining:
            state.is_failed = result.outcome is Outcome.FAILED
            self._again = deque(each for each in self._again if each.state is not state)
            yield replace(result, duration_s=state.duration_s)
            return
        state.num_left -= 1
        if state.num_left == 0:
            self._again.appendleft(Task(task.job, state.cut, state))

    def _replace(self, lost: _Worker, error: WorkerLostError) -> Iterator[JobResult]:
        """Let others do the tasks of a worker that is lost."""
        self._team.remove(lost)
        self._workers.stop(lost.handle)
        if lost.starting is not None:
            self._failed_starts += 1
            if self._failed_starts >= MOST_FAILED_STARTS:
                if not self._team:
                    raise ClusterError(f"workers do not start on the cluster: {error}")
                return
        for task in reversed(lost.tasks.values()):
            task.num_losses += 1
            if task.num_losses < MOST_LOSSES:
                self._again.appendleft(task)
                continue
            problem = RestoreError(
                f"{shown_path(task.job.source)} was given up after {MOST_LOSSES} workers that had it were lost, the "
                f"last one so: {error}"
            )
            yield from self._end(task, JobResult(job=task.job, outcome=Outcome.FAILED, error=problem))
        self._start()
