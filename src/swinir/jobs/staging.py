"""Files that are elsewhere, on this machine while a job needs them."""

import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

from swinir import imaging
from swinir.engine import FileRestoration
from swinir.jobs import places
from swinir.jobs.plan import Job


class Staging:
    """The place on this machine of a job's remote files; files that are here stay where they are."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._folder: Path | None = None

    def fetch(self, file: FileRestoration) -> FileRestoration:
        """Bring the input here, and return the file with both of its places on this machine."""
        job = self._job
        if not (places.is_remote(job.source) or places.is_remote(job.destination)):
            return file
        self._folder = Path(mkdtemp(prefix="swinir-"))
        given, made = self._folder / "given", self._folder / "made"
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

    def name_in(self, error: Exception, file: FileRestoration) -> None:
        """Replace places on this machine by the job's names in what an error says."""
        for here, name in ((file.source, self._job.source), (file.destination, self._job.destination)):
            if here != name:
                shown = imaging.shown_path(name)
                error.args = tuple(str(each).replace(str(here), shown) for each in error.args)
