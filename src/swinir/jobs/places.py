"""Files of this machine or elsewhere, by the drivers of fsspec: s3://, gs://, hdfs:// and what else is installed.

A file that is published appears whole or not at all.
"""

import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from glob import has_magic
from pathlib import Path
from typing import Any

from swinir.engine import Mark, hash_file, read_mark
from swinir.engine.mark import hash_stream, read_mark_of_stream
from swinir.errors import (
    ImageError,
    ImageReadError,
    ImageWriteError,
    MissingPackageError,
    SwinIRError,
    UsageError,
)
from swinir.imaging import shown_path
from swinir.urls import url_of

# Where an object appears when all of it is there; elsewhere it is written beside its place and renamed.
_OBJECT_STORES = frozenset(
    {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss", "r2", "memory"}
)
# Read at once: drivers read ahead by tens of megabytes.
_BLOCK_BYTES = 2**18


def is_remote(path: Path) -> bool:
    """Tell whether a path stands for a URL."""
    return url_of(path) is not None


def exists(path: Path) -> bool:
    """Tell whether there is such a file or folder.

    Raises:
        ImageReadError: its place cannot be reached.
    """
    if not is_remote(path):
        return path.exists()
    with _errors_of(path, ImageReadError):
        system, name = _open(path)
        return system.exists(name)


def is_folder(path: Path) -> bool:
    """Tell whether a name is of a folder; one that no file system takes is of nothing.

    Raises:
        ImageReadError: its place cannot be reached.
    """
    if not is_remote(path):
        try:
            return path.is_dir()
        except OSError:
            return False
    with _errors_of(path, ImageReadError):
        system, name = _open(path)
        return system.isdir(name)


def list_remote(folder: Path) -> list[Path]:
    """Return the files below a remote folder, but for hidden ones, in the order of their names.

    Raises:
        ImageReadError: it cannot be read.
    """
    with _errors_of(folder, ImageReadError):
        system, root = _open(folder)
        names = [name.removeprefix(root).lstrip("/") for name in system.find(root)]
    hidden = (name for name in names if any(part.startswith(".") for part in name.split("/")))
    return sorted(folder / name for name in set(names) - set(hidden))


def match_remote(pattern: Path) -> tuple[Path, list[Path]]:
    """Return the files that fit a pattern of a URL, and the folder before its first part that is none.

    Raises:
        ImageReadError: they cannot be listed.
    """
    first = next(number for number, part in enumerate(pattern.parts) if has_magic(part))
    base = Path(*pattern.parts[:first])
    with _errors_of(pattern, ImageReadError):
        system, name = _open(pattern)
        root = _open(base)[1]
        found: dict[str, dict[str, Any]] = system.glob(name, detail=True)
    matches: list[Path] = []
    for each in sorted(found):
        path = base / each.removeprefix(root).lstrip("/")
        matches += [path] if found[each]["type"] != "directory" else list_remote(path)
    return base, matches


def mark_of(path: Path) -> Mark | None:
    """Find the mark of a file; None where it has none.

    Raises:
        ImageReadError: its place cannot be reached.
    """
    if not is_remote(path):
        return read_mark(path)
    with _errors_of(path, ImageReadError):
        system, name = _open(path)
        with system.open(name, "rb", block_size=_BLOCK_BYTES) as file:
            return read_mark_of_stream(file)


def hash_of(path: Path) -> str:
    """Return a hash of a file's content.

    Raises:
        OSError: a file of this machine cannot be read.
        ImageReadError: a remote one cannot.
    """
    if not is_remote(path):
        return hash_file(path)
    with _errors_of(path, ImageReadError):
        system, name = _open(path)
        with system.open(name, "rb") as file:
            return hash_stream(file)


def may_be_newer(source: Path, made: Path) -> bool:
    """Tell whether a file may have changed since another one was made of it.

    Raises:
        OSError: a file of this machine is not there.
        ImageReadError: a remote one is not.
    """
    if not (is_remote(source) or is_remote(made)):
        given, then = source.stat(), made.stat()
        return max(given.st_mtime_ns, given.st_ctime_ns) >= then.st_mtime_ns
    if source.parts[0] != made.parts[0]:
        # Two clocks.
        return True
    with _errors_of(source, ImageReadError):
        try:
            times = [system.modified(name) for system, name in map(_open, (source, made))]
        except NotImplementedError:
            return True
    return times[0] >= times[1]


def fetch(source: Path, path: Path) -> None:
    """Copy a remote file to this machine.

    Raises:
        ImageReadError: it cannot be read.
    """
    with _errors_of(source, ImageReadError):
        system, name = _open(source)
        system.get_file(name, os.fspath(path))


def publish(path: Path, destination: Path) -> None:
    """Copy a file of this machine to a remote place, where it appears when it is whole.

    Raises:
        ImageWriteError: it cannot be written.
    """
    with _errors_of(destination, ImageWriteError):
        system, name = _open(destination)
        if destination.parts[0].rstrip(":@") in _OBJECT_STORES:
            system.put_file(os.fspath(path), name)
            return
        folder = name.rpartition("/")[0]
        system.makedirs(folder, exist_ok=True)
        beside = f"{folder}/.{secrets.token_hex(8)}.part"
        system.put_file(os.fspath(path), beside)
        # Some refuse to rename over a file.
        if system.exists(name):
            system.rm_file(name)
        system.mv(beside, name)


def _open(path: Path) -> tuple[Any, str]:
    """Return the driver for a URL, and how it calls the file."""
    from fsspec.core import url_to_fs  # noqa: PLC0415  takes time that files of this machine need not

    url = url_of(path)
    assert url is not None
    try:
        return url_to_fs(url)
    except ImportError as error:
        raise MissingPackageError(
            f"{shown_path(path)} takes a driver that is not installed: {error}"
        ) from error
    except ValueError as error:
        raise UsageError(f"{shown_path(path)} is of no kind that is known: {error}") from error


@contextmanager
def _errors_of(path: Path, kind: type[ImageError]) -> Generator[None]:
    try:
        yield
    except SwinIRError:
        raise
    except Exception as error:
        verb = "read" if kind is ImageReadError else "written"
        reason = (
            "no such file" if isinstance(error, FileNotFoundError) else str(error) or type(error).__name__
        )
        raise kind(f"{shown_path(path)} cannot be {verb} ({' '.join(reason.split())})") from error
