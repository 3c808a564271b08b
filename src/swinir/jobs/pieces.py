"""A giant in pieces that different machines do, and that are joined when all are done.

What is done of it lies in a hidden folder beside the result, which all machines see. A file there appears when it is
whole and is known by what it depends on, so that another run takes it as it is.
"""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from swinir import imaging
from swinir.errors import ImageWriteError, SwinIRError, UsageError
from swinir.jobs.options import AnyRestorer, JobOptions
from swinir.jobs.plan import Job, JobResult, Outcome


class Piece(Protocol):
    """A part of a giant that one worker does."""

    def restore(self, restorer: AnyRestorer, job: Job, options: JobOptions) -> None:
        """Restore the part, unless an earlier run or a worker that was lost has done it.

        Raises:
            SwinIRError: what stands in the way.
        """
        ...


class Cut(Protocol):
    """A giant in pieces."""

    @property
    def pieces(self) -> Sequence[Piece]:
        """The pieces, from the beginning."""
        ...

    def join(self, restorer: AnyRestorer, job: Job, options: JobOptions) -> tuple[str, ...]:
        """Write the result from its pieces, remove them, and return notes.

        Raises:
            SwinIRError: what stands in the way.
        """
        ...


def restore_piece(restorer: AnyRestorer, job: Job, piece: Piece, options: JobOptions) -> JobResult:
    """Do a piece; what goes wrong is its result."""

    def restore() -> tuple[str, ...]:
        piece.restore(restorer, job, options)
        return ()

    return _result(job, restore)


def join_pieces(restorer: AnyRestorer, job: Job, cut: Cut, options: JobOptions) -> JobResult:
    """Join all pieces; what goes wrong is the result of the job."""
    return _result(job, lambda: cut.join(restorer, job, options))


def _result(job: Job, action: Callable[[], tuple[str, ...]]) -> JobResult:
    start = time.monotonic()
    error: SwinIRError | None = None
    notes: tuple[str, ...] = ()
    try:
        notes = action()
    except UsageError:
        raise
    except SwinIRError as problem:
        error = problem
    except OSError as problem:
        name = imaging.shown_path(job.destination)
        error = ImageWriteError(f"{name} cannot be written ({problem.strerror or problem})")
    return JobResult(
        job=job,
        outcome=Outcome.DONE if error is None else Outcome.FAILED,
        notes=notes,
        error=error,
        duration_s=time.monotonic() - start,
    )
