"""Jobs on workers that may be lost: played by a list, without processes."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from swinir.errors import ClusterError, ImageReadError, UsageError
from swinir.jobs import Job, JobResult, Outcome
from swinir.jobs.dispatch import MOST_FAILED_STARTS, MOST_LOSSES, Task, WorkerLostError, restore_on_workers


@dataclass(frozen=True)
class Cut:
    pieces: tuple[int, ...]

    def __str__(self) -> str:
        return "joined"


class Played:
    """Workers that end their calls in order; ``loses`` says which calls take their worker with them."""

    def __init__(
        self, loses: Any = lambda _: False, *, tasks_at_once: int = 1, starts: Any = lambda _: None
    ) -> None:
        self.tasks_at_once = tasks_at_once
        self.loses, self.starts = loses, starts
        self.number_started = 0
        self.living: set[int] = set()
        self.calls: deque[tuple[int, Task | None]] = deque()
        self.done: Counter[str] = Counter()
        self.most_at_once = 0
        self.cuts: dict[str, int] = {}
        self.bad_piece: int | None = -1

    def start(self) -> tuple[Any, Any]:
        self.number_started += 1
        self.living.add(self.number_started)
        self.calls.append((self.number_started, None))
        return self.number_started, self.calls[-1]

    def submit(self, worker: Any, task: Task) -> Any:
        assert worker in self.living
        self.calls.append((worker, task))
        self.most_at_once = max(self.most_at_once, sum(who == worker for who, _ in self.calls))
        return self.calls[-1]

    def wait(self, calls: Sequence[Any]) -> Sequence[Any]:
        assert set(calls) == set(self.calls)
        worker, task = self.calls.popleft()
        if task is not None and self.loses(task):
            lost = [(worker, task), *(call for call in self.calls if call[0] == worker)]
            self.calls = deque(call for call in self.calls if call[0] != worker)
            self.living.remove(worker)
            return lost
        return [(worker, task)]

    def answer(self, call: Any) -> Any:
        worker, task = call
        if worker not in self.living:
            raise WorkerLostError("killed")
        if task is None:
            answer = self.starts(worker)
            if isinstance(answer, WorkerLostError):
                raise answer
            return answer
        name = task.job.source.stem
        if name in self.cuts and task.step is None:
            return Cut(tuple(range(self.cuts[name])))
        self.done[name if task.step is None else f"{name} {task.step}"] += 1
        if task.step == self.bad_piece:
            return JobResult(job=task.job, outcome=Outcome.FAILED, error=ImageReadError("damaged"))
        outcome = Outcome.SKIPPED if self.done[name] > 1 else Outcome.DONE
        seconds = 0.0 if task.step is None else 1.0
        return JobResult(
            duration_s=seconds,
            job=Job(source=Path("/other/name"), destination=Path(), is_listed=True),
            outcome=outcome,
        )

    def stop(self, worker: Any) -> None:
        self.living.discard(worker)
        self.calls = deque(call for call in self.calls if call[0] != worker)


def jobs(number: int) -> list[Job]:
    return [
        Job(source=Path(f"{n}.png"), destination=Path(f"{n}_x2.png"), is_listed=True) for n in range(number)
    ]


@pytest.mark.parametrize("tasks_at_once", [1, 3])
def test_every_job_is_done_once_by_workers_that_are_ready(tasks_at_once: int) -> None:
    played, given = Played(tasks_at_once=tasks_at_once), jobs(20)
    results = list(restore_on_workers(played, iter(given), number=3))
    assert sorted(result.job.source.name for result in results) == sorted(job.source.name for job in given)
    assert set(played.done.values()) == {1}
    assert played.most_at_once == tasks_at_once
    assert not played.living


def test_what_a_lost_worker_had_is_done_by_others_and_it_is_replaced() -> None:
    given = jobs(12)
    lost: Counter[str] = Counter()

    def lose_once(task: Task) -> bool:
        lost[task.job.source.stem] += 1
        return task.job.source.stem in {"2", "7"} and lost[task.job.source.stem] == 1

    played = Played(lose_once, tasks_at_once=2)
    results = list(restore_on_workers(played, given, number=3))
    assert Counter(result.job for result in results) == Counter(given)
    assert {result.outcome for result in results} == {Outcome.DONE}
    assert played.number_started == 5


def test_a_job_that_its_lost_worker_had_finished_counts_as_done() -> None:
    def lose_when_done(task: Task) -> bool:
        if task.num_losses == 0:
            played.done[task.job.source.stem] += 1
        return task.num_losses == 0

    played = Played(lose_when_done)
    (result,) = restore_on_workers(played, jobs(1), number=1)
    assert played.done["0"] == 2
    assert result.outcome is Outcome.DONE


def test_a_file_that_kills_its_workers_is_given_up_and_the_others_are_done() -> None:
    played, given = Played(lambda task: task.job.source.stem == "1"), jobs(4)
    results = {result.job.source.stem: result for result in restore_on_workers(played, given, number=2)}
    assert [results[name].outcome for name in "0123"] == ["done", "failed", "done", "done"]
    assert played.number_started == 2 + MOST_LOSSES
    assert "1.png was given up" in str(results["1"].error)


def test_a_job_that_cannot_be_done_takes_no_worker() -> None:
    problem = ImageReadError("x is a film")
    bad = Job(source=Path("x"), destination=Path("x"), is_listed=True, problem=problem)
    played = Played()
    results = list(restore_on_workers(played, [bad, *jobs(1)], number=1))
    assert [result.error for result in results] == [problem, None]
    assert sum(played.done.values()) == 1


def test_without_jobs_nothing_is_started() -> None:
    played = Played()
    assert list(restore_on_workers(played, [], number=4)) == []
    assert played.number_started == 0


def test_workers_that_never_start_end_the_run() -> None:
    played = Played(starts=lambda _: WorkerLostError("no module named swinir"))
    with pytest.raises(ClusterError, match="no module named swinir"):
        list(restore_on_workers(played, jobs(3), number=1))
    assert played.number_started == MOST_FAILED_STARTS


def test_a_worker_that_starts_does_what_others_that_do_not_leave() -> None:
    played = Played(starts=lambda worker: None if worker == 2 else WorkerLostError("no room"))
    results = list(restore_on_workers(played, jobs(5), number=3))
    assert [result.outcome for result in results] == 5 * [Outcome.DONE]


def test_an_impossible_choice_is_raised_and_workers_end() -> None:
    played = Played(starts=lambda _: UsageError("no such device"))
    with pytest.raises(UsageError, match="no such device"):
        list(restore_on_workers(played, jobs(3), number=2))
    assert not played.living


def test_closing_the_iterator_ends_all_workers() -> None:
    played = Played()
    results = restore_on_workers(played, jobs(9), number=3)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert not played.living


def test_a_job_in_pieces_is_joined_when_all_are_done() -> None:
    played = Played()
    played.cuts = {"1": 5}
    results = {result.job.source.stem: result for result in restore_on_workers(played, jobs(3), number=2)}
    assert {name: result.outcome for name, result in results.items()} == dict.fromkeys("012", Outcome.DONE)
    assert results["1"].duration_s == 6
    assert played.done == Counter(["0", "2", "1 joined", *(f"1 {piece}" for piece in range(5))])
    assert list(played.done)[-1] == "1 joined" or list(played.done).index("1 joined") > list(
        played.done
    ).index("1 4")


def test_a_piece_that_fails_is_the_end_of_its_job_alone() -> None:
    played = Played()
    played.cuts, played.bad_piece = {"0": 9}, 2
    results = list(restore_on_workers(played, jobs(3), number=2))
    assert Counter(result.outcome for result in results) == {Outcome.FAILED: 1, Outcome.DONE: 2}
    assert "0 8" not in played.done
    assert "0 joined" not in played.done


def test_pieces_of_a_lost_worker_are_done_by_others() -> None:
    played = Played(lambda task: task.step in {1, 3} and task.num_losses == 0)
    played.cuts = {"0": 5}
    (result,) = restore_on_workers(played, jobs(1), number=3)
    assert result.outcome is Outcome.DONE
    assert set(played.done.values()) == {1}
