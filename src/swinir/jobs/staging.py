"""Files that are elsewhere, on this machine while a job needs them."""

import hashlib
import os
import shutil
import stat
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir, mkdtemp

from swinir import imaging
from swinir.engine import FileRestoration
from swinir.jobs import places
from swinir.jobs.hidden import locked
from swinir.jobs.plan import Job


class Staging:
    """The place on this machine of a job's remote files; files that are here stay where they are.

    It is the same for the same job: what a run that was ended has finished of a film, or of a picture in bands, is
    there for the next one.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._folder: Path | None = None
        self._lock = ExitStack()

    def fetch(self, file: FileRestoration) -> FileRestoration:
        """Bring the input here, and return the file with both of its places on this machine.

        Raises:
            ImageWriteError: another run on this machine has the same result in work.
            OSError: the input cannot be had.
        """
        job = self._job
        if not (places.is_remote(job.source) or places.is_remote(job.destination)):
            return file
        folder = _private_folder() / _digest(job)
        self._lock.enter_context(locked(folder, imaging.shown_path(job.destination)))
        self._folder = folder
        given, made = folder / "given", folder / "made"
        self._remove_all_but_unfinished()
        given.mkdir()
        if places.is_remote(job.source):
            places.fetch(job.source, given / job.source.name)
            file = replace(file, source=given / job.source.name)
        if places.is_remote(job.destination):
            file = replace(file, destination=made / job.destination.name)
        return file

    def deliver(self, made: Path) -> None:
        """Send what was made to its place, the file itself behind the tiles that it tells of."""
        destination = self._job.destination
        if made != destination:
            others = [path for path in sorted(made.parent.rglob("*")) if path.is_file() and path != made]
            for path in [*others, made]:
                places.publish(path, destination.parent / path.relative_to(made.parent))

    def remove(self) -> None:
        """Remove what is left here."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        self._lock.close()

    def leave(self) -> None:
        """Keep what another run goes on from, and remove all else."""
        if self._folder is None or not self._remove_all_but_unfinished():
            self.remove()
        self._folder = None
        self._lock.close()

    def name_in(self, error: Exception, file: FileRestoration) -> None:
        """Replace places on this machine by the job's names in what an error says."""
        for here, name in ((file.source, self._job.source), (file.destination, self._job.destination)):
            if here != name:
                shown = imaging.shown_path(name)
                error.args = tuple(str(each).replace(str(here), shown) for each in error.args)

    def _remove_all_but_unfinished(self) -> bool:
        """Tell whether anything unfinished is there; it is in hidden folders beside the result."""
        assert self._folder is not None
        shutil.rmtree(self._folder / "given", ignore_errors=True)
        made = self._folder / "made"
        entries = list(made.iterdir()) if made.is_dir() else []
        unfinished = [path for path in entries if path.name.startswith(".") and path.is_dir()]
        for path in entries:
            if path not in unfinished:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        return bool(unfinished)


def _digest(job: Job) -> str:
    names = f"{imaging.shown_path(job.source)}\n{imaging.shown_path(job.destination)}"
    return hashlib.blake2b(names.encode(), digest_size=12).hexdigest()


def _private_folder() -> Path:
    """Return a folder for temporary files that is this user's alone and the same the next time."""
    folder = Path(gettempdir()) / f"swinir-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    is_private = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return folder if is_private else Path(mkdtemp(prefix="swinir-"))
