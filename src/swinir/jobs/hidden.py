"""The hidden folder beside a result, where a run keeps what is finished, and rows of pixels in a file there."""

import hashlib
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from swinir import imaging
from swinir.errors import ImageWriteError

LOCK = "lock"


def hidden_folder(destination: Path, kind: str) -> Path:
    """Name the folder of one kind beside a result; its length does not depend on that of the result's name."""
    digest = hashlib.blake2b(os.fsencode(destination.name), digest_size=8).hexdigest()
    return destination.with_name(f".{digest}.{kind}")


@contextmanager
def locked(folder: Path, name: str) -> Generator[None]:
    """Make a folder, and keep other processes out of it while the block runs; the lock ends with this process."""
    import fcntl  # noqa: PLC0415  Not on Windows, where the rest of the package is.

    while True:
        folder.mkdir(exist_ok=True)
        with (folder / LOCK).open("wb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ImageWriteError(
                    f"{name} is being written by another run: wait for it, or stop it"
                ) from error
            # The run before may have removed the folder in between.
            if _is_at(file, folder / LOCK):
                yield
                return


@contextmanager
def errors_named(name: str) -> Generator[None]:
    """Turn an error of the disk into one about the result of this name."""
    try:
        yield
    except OSError as error:
        raise ImageWriteError(f"{name} cannot be written ({error.strerror or error})") from error


def write_rows(file: BinaryIO, band: imaging.Band) -> None:
    """Append rows to a file: pixel after pixel, alpha behind the colours.

    Raises:
        OSError: the disk is full.
    """
    file.write(np.ascontiguousarray(band.joined()).data)


def read_rows(file: BinaryIO, header: imaging.Header, num_bytes: int) -> Iterator[imaging.Band]:
    """Yield the rows in the next ``num_bytes`` of a file, some at a time."""
    most = imaging.rows_of_band(header.row_bytes) * header.row_bytes
    while num_bytes > 0:
        size = min(most, num_bytes)
        num_bytes -= size
        values = np.frombuffer(file.read(size), header.dtype)
        yield header.split(values.reshape(-1, header.width, header.values))


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
