"""A job in memory, why one is not taken, and where its files lie."""

import os
import secrets
import shutil
import threading
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from swinir.errors import SwinIRError
from swinir.server.store import JobRecord


class QueueFullError(SwinIRError):
    """As many jobs wait as are allowed."""


class StoppingError(SwinIRError):
    """The service is stopping."""


class DiskFullError(SwinIRError):
    """The jobs fill the disk, or the space of it that they are given."""


class CancelledJobError(Exception):
    """The job is no longer wanted; raised within its progress callback."""


@dataclass(eq=False)
class Job:
    """A job in memory: its record, how far it is, and what to do when it ends."""

    record: JobRecord
    is_small: bool = False
    is_cancelled: threading.Event = field(default_factory=threading.Event)
    ended: "Future[JobRecord]" = field(default_factory=Future)
    began_s: float = 0.0
    done: int = 0
    total: int = 0

    @property
    def fraction(self) -> float:
        """How much is done, from 0 to 1."""
        return self.done / self.total if self.total else 0.0

    def remaining_s(self, now_s: float) -> float | None:
        """Estimated seconds until it ends, once something of it is done."""
        if not self.done or not self.began_s:
            return None
        return (now_s - self.began_s) * (self.total - self.done) / self.done


class JobFiles:
    """Files of jobs: each job has a folder that is named by its id, with its upload or its result."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def reserve(self) -> str:
        """Make a folder for a new job, and return the job's id, which nobody can guess."""
        job_id = secrets.token_urlsafe(18)
        (self.folder / job_id).mkdir()
        return job_id

    def upload(self, job_id: str) -> Path:
        """Return where the picture of a job lies until the job has ended."""
        return self.folder / job_id / "upload"

    def result(self, record: JobRecord) -> Path:
        """Return where the result of a job lies."""
        return self.folder / record.id / f"result.{record.format}"

    def archive(self, name: str) -> Path:
        """Return where a file of several results may be written; the next start removes what is left there."""
        folder = self.folder / f"zip-{name}"
        folder.mkdir()
        return folder / "results.zip"

    def discard(self, job_id: str) -> None:
        """Remove all files of a job."""
        shutil.rmtree(self.folder / job_id, ignore_errors=True)

    def discard_unknown(self, known: set[str]) -> None:
        """Remove the folders of no job."""
        for folder in self.folder.iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)

    def num_bytes(self) -> int:
        """Return the size of all files."""
        total = 0
        # Jobs end meanwhile: what is gone counts nothing.
        for folder, _, names in os.walk(self.folder):
            for name in names:
                with suppress(OSError):
                    total += Path(folder, name).stat().st_size
        return total
