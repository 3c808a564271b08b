"""How far the work on an image is."""

from typing import Protocol, runtime_checkable

# Parts of the progress of one frame.
_PARTS = 100


@runtime_checkable
class Progress(Protocol):
    """Follows how much of an image is done, in transformer layers of tiles, first with ``done`` = 0.

    Where memory runs out and the work starts again in smaller tiles, ``done`` falls back and ``total``
    changes. An exception that it raises stops the restoration.
    """

    def __call__(self, done: int, total: int) -> None:
        """Take note that ``done`` of ``total`` is done."""
        ...


class Steps:
    """Counts what is done of one image, and reports it, first at once."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._done = 0
        self._total = total
        self.add(0)

    def add(self, steps: int) -> None:
        """Count and report."""
        self._done += steps
        self._progress(self._done, self._total)


def progress_of_frame(progress: Progress | None, number: int, count: int) -> Progress | None:
    """Return the progress of one frame as its part of that of all ``count`` frames."""
    if progress is None:
        return None

    def follow(done: int, total: int) -> None:
        progress(_PARTS * number + _PARTS * done // max(total, 1), _PARTS * count)

    return follow
