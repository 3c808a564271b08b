"""Jobs on disk: what was accepted is there after any crash, done, to be done again, or named as failed."""

import sqlite3
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path

from swinir.engine import TargetSize
from swinir.errors import SwinIRError

# Seconds that a start waits for the end of the service before it.
LOCKED_S = 5.0
# Layout of the table; an older file is set aside, since jobs live for hours.
VERSION = 3


class StoreError(SwinIRError):
    """Jobs cannot be stored: the disk is full, or another service has the folder."""


class JobState(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINISHED = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED})


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """One job as it is stored.

    Attributes:
        id: not to be guessed; the name of the job's folder.
        state: where it is.
        created_s: seconds since 1970.
        updated_s: of the last change of state.
        model: name of the model.
        format: suffix of the result, without its dot.
        quality: of the result, 1 to 100, or None.
        name: what the client calls the picture, for showing only.
        message: why it failed, or notes about the result.
        status: HTTP status of a failure.
        salvage: whether a damaged picture is restored as far as it can be decoded.
        is_kept: whether the result waits to be fetched; else it belongs to one request.
        num_attempts: how often it was begun.
        scale, width, height, max_side: of a ``TargetSize``; all None for the model's own.
    """

    id: str
    state: JobState
    created_s: float
    updated_s: float
    model: str
    format: str
    quality: int | None = None
    name: str = ""
    message: str = ""
    status: int = 200
    salvage: bool = False
    is_kept: bool = True
    num_attempts: int = 0
    scale: float | None = None
    width: int | None = None
    height: int | None = None
    max_side: int | None = None

    @property
    def size(self) -> TargetSize | None:
        """The size that is asked for, or None for the model's own."""
        sides = {"width": self.width, "height": self.height, "max_side": self.max_side}
        if self.scale is None and not any(sides.values()):
            return None
        return TargetSize(scale=self.scale, **sides)


_COLUMNS = tuple(field.name for field in fields(JobRecord))


class JobStore:
    """A SQLite file of jobs, safe for several threads; each change is on the disk when the call returns.

    One process at a time has it, since what is unfinished there is done again by whoever opens it.

    Raises:
        StoreError: the folder cannot be used, here and by every method.
    """

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                folder / "jobs.sqlite", check_same_thread=False, isolation_level=None, timeout=LOCKED_S
            )
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"jobs cannot be kept in {folder} ({error}): choose another folder (--data)"
            ) from error
        try:
            self._prepare()
        except sqlite3.Error as error:
            self.close()
            is_locked = error.sqlite_errorcode == sqlite3.SQLITE_BUSY
            reason = "another service uses it" if is_locked else str(error)
            raise StoreError(
                f"jobs cannot be kept in {folder} ({reason}): choose another folder (--data)"
            ) from error

    def _prepare(self) -> None:
        # The index of the journal is then in memory: nothing but a change needs space on the disk.
        self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        if self._connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            self._connection.execute("DROP TABLE IF EXISTS jobs")
            self._connection.execute(f"CREATE TABLE jobs ({', '.join(_COLUMNS)}, PRIMARY KEY (id))")
            self._connection.execute(f"PRAGMA user_version = {VERSION}")

    def add(self, record: JobRecord) -> None:
        """Store a new job."""
        marks = ", ".join("?" * len(_COLUMNS))
        with self._cursor() as cursor:
            cursor.execute(f"INSERT INTO jobs VALUES ({marks})", [getattr(record, name) for name in _COLUMNS])

    def update(self, record: JobRecord, **changes: object) -> JobRecord:
        """Store changed fields of a job, and return it with them."""
        changed = replace(record, **changes, updated_s=time.time())  # pyright: ignore[reportArgumentType]
        assignments = ", ".join(f"{name} = ?" for name in _COLUMNS if name != "id")
        values = [getattr(changed, name) for name in _COLUMNS if name != "id"]
        with self._cursor() as cursor:
            cursor.execute(f"UPDATE jobs SET {assignments} WHERE id = ?", [*values, record.id])
        return changed

    def get(self, job_id: str) -> JobRecord | None:
        """Return a job, or None."""
        found = self._select("WHERE id = ?", [job_id])
        return found[0] if found else None

    def unfinished(self) -> list[JobRecord]:
        """Return every job that is neither done nor given up, the oldest first."""
        return self._select("WHERE state IN (?, ?) ORDER BY created_s", [JobState.QUEUED, JobState.RUNNING])

    def finished_before(self, time_s: float) -> list[JobRecord]:
        """Return finished jobs that have not changed since ``time_s``."""
        return self._select(
            "WHERE state NOT IN (?, ?) AND updated_s < ?", [JobState.QUEUED, JobState.RUNNING, time_s]
        )

    def ids(self) -> set[str]:
        """Return the id of every job."""
        with self._cursor() as cursor:
            return {row[0] for row in cursor.execute("SELECT id FROM jobs")}

    def remove(self, job_id: str) -> None:
        """Forget a job."""
        with self._cursor() as cursor:
            cursor.execute("DELETE FROM jobs WHERE id = ?", [job_id])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _select(self, condition: str, values: list[object]) -> list[JobRecord]:
        with self._cursor() as cursor:
            rows = cursor.execute(f"SELECT {', '.join(_COLUMNS)} FROM jobs {condition}", values).fetchall()
        return [_record(dict(zip(_COLUMNS, row, strict=True))) for row in rows]

    @contextmanager
    def _cursor(self) -> Generator[sqlite3.Cursor]:
        with self._lock:
            try:
                yield self._connection.cursor()
            except sqlite3.Error as error:
                raise StoreError(f"the list of jobs cannot be used ({error}): try again later") from error


def _record(values: dict[str, object]) -> JobRecord:
    values |= {"state": JobState(str(values["state"])), "is_kept": bool(values["is_kept"])}
    values["salvage"] = bool(values["salvage"])
    return JobRecord(**values)  # pyright: ignore[reportArgumentType]
