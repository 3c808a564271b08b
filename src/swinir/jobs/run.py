"""Files through Restorers, each read, restored and written; one bad file stops nothing.

A CPU is busy with the network, so there files are done one step after the other.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Unpack

from swinir.engine import Enlarger, Restorer
from swinir.engine.hardware import is_cpu
from swinir.errors import UsageError
from swinir.jobs.options import AnyRestorer, JobChoices, JobOptions
from swinir.jobs.pipeline import restore_in_pipeline
from swinir.jobs.plan import Job, JobResult
from swinir.jobs.task import FileTask


def restore_files(
    restorers: AnyRestorer | Sequence[AnyRestorer],
    jobs: Iterable[Job],
    **choices: Unpack[JobChoices],
) -> Iterator[JobResult]:
    """Do all jobs and yield what came of each.

    One Restorer does them in order. Several take the next one as they get free, each in a thread of its own, and
    results come as they are there. Closing the iterator, or an interrupt, stops them all: what is being written is
    finished, and nothing is left half done.

    Args:
        restorers: one, or one for each GPU (``choose_devices``).
        jobs: from ``plan_jobs``.
        choices: fields of ``JobOptions``.

    Raises:
        UsageError: there is no Restorer.
    """
    team = [restorers] if isinstance(restorers, Restorer | Enlarger) else list(restorers)
    if not team:
        raise UsageError("restorers is empty: give at least one")
    options = JobOptions(**choices)
    if len(team) == 1 and is_cpu(team[0].device):
        return _restore_in_order(team[0], jobs, options)
    return restore_in_pipeline(team, jobs, options)


def _restore_in_order(restorer: AnyRestorer, jobs: Iterable[Job], options: JobOptions) -> Iterator[JobResult]:
    for job in jobs:
        task = FileTask(job, options, restorer).read()
        task.restore(restorer)
        yield task.write()
