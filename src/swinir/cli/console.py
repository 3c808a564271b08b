"""What commands show: results on standard output, progress and errors on standard error."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

# A pipe or a file has no width that a table would have to fit.
UNBOUNDED_WIDTH = 200


class Output:
    """One of the two streams of text. Its console is made, and looks at the terminal, when it is first needed."""

    def __init__(self, *, is_error: bool) -> None:
        self._is_error = is_error

    @cached_property
    def console(self) -> "Console":
        """The console of rich."""
        from rich.console import Console

        console = Console(stderr=self._is_error, highlight=False, soft_wrap=True)
        if not (self._is_error or console.is_terminal):
            console.width = UNBOUNDED_WIDTH
        return console

    def print(self, *objects: Any, style: str | None = None, markup: bool = True) -> None:
        """Print as rich does; without ``markup`` brackets stay as they are."""
        self.console.print(*objects, style=style, markup=markup)


out = Output(is_error=False)
err = Output(is_error=True)

# Where no terminal redraws a bar, a line at most this often says how far the work is.
PLAIN_LINE_EVERY_S = 10.0


class Bar:
    """Progress of one piece of work, called as ``bar(done, total)``: a bar on a terminal, plain lines elsewhere."""

    def __init__(self, title: str, progress: "Progress | None") -> None:
        self._title = title
        self._progress = progress
        self._task = progress.add_task(title, total=None) if progress is not None else None
        self._began = self._last_line = time.monotonic()
        self._megapixels: float | None = None
        self._is_film = False
        self._done_before: int | None = None

    def count_megapixels(self, total: float) -> None:
        """Show from now on how many of so many megapixels are done."""
        self._megapixels = total

    def count_frames(self) -> None:
        """Show from now on how many frames of a film are done, and how many each second."""
        self._is_film = True

    def __call__(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` is done."""
        title = self._title
        if self._is_film:
            title = f"{title}: {self._frames(done, total)}"
        if self._megapixels is not None:
            title = f"{title}: {self._megapixels * done / max(total, 1):,.1f} of {self._megapixels:,.1f} megapixels"
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, description=title, completed=done, total=total)
            return
        now = time.monotonic()
        if 0 < done < total and now - self._last_line >= PLAIN_LINE_EVERY_S:
            self._last_line = now
            left_s = (now - self._began) * (total - done) / done
            err.print(f"{title}: {100 * done // total} %, {duration(left_s)} left", markup=False)

    def _frames(self, done: int, total: int) -> str:
        """Say how far a film is; what an earlier run did counts as done, and not for the speed."""
        now = time.monotonic()
        if self._done_before is None:
            self._done_before, self._began = done, now
        text = f"{done:,} of {total:,} frames"
        if done == self._done_before:
            return text
        per_second = (done - self._done_before) / max(now - self._began, 1e-9)
        return f"{text}, {per_second:.2g} frames per second"

    def remove(self) -> None:
        """Take it off the terminal."""
        if self._progress is not None and self._task is not None:
            self._progress.remove_task(self._task)


class Bars:
    """Progress of pieces of work that may run at once; any thread may begin one."""

    def __init__(self, progress: "Progress | None") -> None:
        self._progress = progress

    def begin(self, title: str) -> Bar:
        """Show another piece of work."""
        return Bar(title, self._progress)

    @contextmanager
    def hidden(self) -> Generator[None]:
        """Make room for lines of text while the block runs."""
        if self._progress is None:
            yield
            return
        self._progress.stop()
        try:
            yield
        finally:
            self._progress.start()


@contextmanager
def progress_bars() -> Generator[Bars]:
    """Show how far pieces of work are while the block runs."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    if err.console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(compact=True),
        )
        with Progress(*columns, console=err.console, transient=True) as progress:
            yield Bars(progress)
    else:
        yield Bars(None)


@contextmanager
def progress_bar(title: str, *, is_quiet: bool = False) -> Generator[Bar | None]:
    """Show how far one piece of work is while the block runs; nothing at all when quiet."""
    if is_quiet:
        yield None
        return
    with progress_bars() as bars:
        yield bars.begin(title)


def duration(seconds: float) -> str:
    """Write a time as a person says it: 3.2 s, 4 min 10 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest_s} s"
    return f"{minutes // 60} h {minutes % 60} min"
