"""Whether a result that exists is what a job would make."""

from collections.abc import Callable

from swinir import imaging
from swinir.errors import ImageWriteError
from swinir.jobs import places
from swinir.jobs.plan import Job


def is_made(job: Job, settings_of: Callable[[], str], *, update: bool) -> bool:
    """Tell whether the output of a job is there, of this input and with these settings.

    Args:
        job: whose output may exist.
        settings_of: returns what the result depends on beside its input, as text.
        update: another one may be replaced.

    Raises:
        ImageWriteError: there is another one, which may not be replaced.
    """
    if not places.exists(job.destination):
        return False
    name = imaging.shown_path(job.destination)
    if not job.is_listed:
        raise ImageWriteError(f"{name} exists; choose another output, or allow overwriting")
    mark = places.mark_of(job.destination)
    # What says nothing of itself is taken for what it is called.
    if mark is None:
        return True
    settings = settings_of()
    if mark.settings != settings:
        problem = f"was made by other settings ({mark.settings}, not {settings})"
    elif places.may_be_newer(job.source, job.destination) and places.hash_of(job.source) != mark.source:
        problem = f"was made of another version of {imaging.shown_path(job.source)}"
    else:
        return True
    if not update:
        raise ImageWriteError(f"{name} {problem}: allow it to be made again (update)")
    return False
